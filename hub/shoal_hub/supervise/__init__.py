"""`shoal hub up` in parts: what is prepared before the start, the processes, and who may operate the hub."""
