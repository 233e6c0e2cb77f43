"""Techniques that keep weights, or weights and activations, in few bits."""
