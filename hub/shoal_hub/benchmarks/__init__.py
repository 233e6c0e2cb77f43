"""Benchmarks: files of models measured on real devices of each class, and offered to another where one disappears."""
