"""Benchmarks that the hub hands out: each file is run in a process of its own while the device is idle."""

from shoal_agent.benchmarks.benchmarks import Benchmarks

__all__ = ["Benchmarks"]
