"""The model registry: models, immutable versions, variants for targets, aliases, stages and artifacts."""
