"""The history of drift: windows merged by hour and day, kept for long, and what led to a signal."""
