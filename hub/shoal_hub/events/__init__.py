"""Events: what happened, in one table, and the live stream that tells a reader to look again."""
