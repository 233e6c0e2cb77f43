"""Where answers go: files, databases, topics, addresses; each part of a run once, and a manifest last."""
