"""Stands for a driver of Ray whose cluster has no room: it waits for as long as it may."""

import sys

if __name__ == "__main__":
    sys.stdin.read()
