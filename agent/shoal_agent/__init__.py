"""Shoal's agent: the daemon on a device and its own command line. Light, Python 3.10 and newer."""
