"""Runs a model over rows of a source and writes what it answers to a sink, each part once; see `running`."""
