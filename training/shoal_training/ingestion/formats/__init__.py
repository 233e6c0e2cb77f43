"""Forms of files: each reads one kind, some rows at a time, and says which rows are damaged."""
