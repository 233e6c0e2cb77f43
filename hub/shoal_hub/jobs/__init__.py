"""Jobs: long work in child processes, with progress and logs that others can read."""
