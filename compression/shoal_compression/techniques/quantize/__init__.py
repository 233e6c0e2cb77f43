"""Techniques that store, and where the runtime can compute, in fewer bits."""
