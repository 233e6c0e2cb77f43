"""A process whose system clock is wrong: libfaketime moves what Python, OpenSSL, SQLite and Mosquitto read of it."""

import os
import sys
from datetime import timedelta
from pathlib import Path

_CACHE = Path(__file__).parents[2] / ".cache"
"""Where scripts/setup unpacks what it may not install."""


def clock_off_by(error: timedelta) -> dict[str, str]:
    """Return the variables of a process, and of those it starts, whose clock is so far ahead, or behind if negative.

    Monotonic time and the times of files stay as they are: what waits, waits as long as ever.
    """
    places = [Path("/usr/lib"), _CACHE / "debian" / "usr" / "lib"]
    library = next((str(path) for place in places for path in place.glob("**/faketime/libfaketime.so.1")), "")
    assert library, "libfaketime is not installed: scripts/setup test"
    return {
        "LD_PRELOAD": library,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("under_libfaketime")), *filter(None, sys.path)]),
        "FAKETIME": f"{error.total_seconds():+.0f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
