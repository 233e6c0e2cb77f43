"""Ingest: the one bulk writer. It takes in what devices send, commits it, and acknowledges what is committed."""
