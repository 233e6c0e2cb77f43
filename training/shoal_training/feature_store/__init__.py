"""Features in training sets as they were known at the time, and of event streams, streamed and computed again."""
