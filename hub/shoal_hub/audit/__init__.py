"""The audit trail: every change in an append-only table, chained by hash, whose head is signed and kept elsewhere."""
