"""Pins: a device stays on one version of a model, whatever rollouts want."""
