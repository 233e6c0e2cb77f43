"""Automation: policies that watch a model's evidence and act on it, within guard rails, each step with its reasons."""
