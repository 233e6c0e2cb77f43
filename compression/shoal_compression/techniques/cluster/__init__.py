"""Techniques that let weights share a few values."""
