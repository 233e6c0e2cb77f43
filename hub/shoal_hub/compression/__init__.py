"""Compression runs: recipes or a search in a job, measured on devices of each class, and the best registered."""
