"""`shoal hub doctor`: looks at a hub's folder, database, processes and broker, and says how to mend what is wrong."""
