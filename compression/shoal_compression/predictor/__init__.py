"""Predicts the latency of a file on a device class from profiles of operators, with its error stated."""
