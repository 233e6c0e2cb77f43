"""What answers the parts of a run: processes of this machine, tasks of Ray. `checks` holds any engine to its word."""
