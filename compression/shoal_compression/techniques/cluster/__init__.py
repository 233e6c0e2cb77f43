"""Clustering: weights share few values."""
