"""Reads raw data from where it lies into tables, and keeps what was read as snapshots that never change."""
