"""Pipelines that are trained at the hub: what they may reach, the job that runs them, where they are recorded."""
