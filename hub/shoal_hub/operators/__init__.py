"""Operators: who may use the API, by token."""
