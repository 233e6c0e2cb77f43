"""Batch jobs: handed out to devices, followed, and their answers collected."""
