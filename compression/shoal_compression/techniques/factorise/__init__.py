"""Factorisation: large matrices as products of small ones."""
