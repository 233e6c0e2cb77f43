"""From raw rows to a model bundle by one file: read, checked, learned and measured, each step kept by content."""
