"""Pruning: weights or whole channels that count little are taken away."""
