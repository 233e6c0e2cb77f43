"""What the device believes of its hub, by The Update Framework (theupdateframework.github.io/specification).

python-tuf is imported when it is first used: it takes 4 MB of memory.
"""
