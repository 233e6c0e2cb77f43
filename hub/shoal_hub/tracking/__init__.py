"""Experiments, their runs with parameters, metrics and files, and the models that runs have made."""
