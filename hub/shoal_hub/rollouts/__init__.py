"""Rollouts: a version brought to a fleet wave by wave, and back."""
