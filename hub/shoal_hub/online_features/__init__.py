"""The online feature store: the latest values of entities' features, kept in SQLite or Redis, read in a millisecond."""
