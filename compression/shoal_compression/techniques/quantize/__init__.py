"""Quantization: weights and activations as small whole numbers."""
