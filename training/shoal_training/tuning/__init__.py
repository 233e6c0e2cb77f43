"""Searches for a trainer's settings by Optuna, over the space that a pipeline file names."""
