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
    return {**_variables(), "FAKETIME": _offset(error)}


class JumpingClock:
    """A clock that jumps while a process goes by it; `file` is where it is told how wrong it is.

    A process goes by it if it is started with `variables`, and notices a jump within a second.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.variables = {**_variables(), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_CACHE_DURATION": "1"}
        self.jump(timedelta())

    def jump(self, error: timedelta) -> None:
        """Be so far ahead from now on, or behind if negative."""
        part = self._file.with_name(f"{self._file.name}.part")
        part.write_text(_offset(error))
        part.replace(self._file)


def _offset(error: timedelta) -> str:
    return f"{error.total_seconds():+.0f}"


def _variables() -> dict[str, str]:
    places = [Path("/usr/lib"), _CACHE / "debian" / "usr" / "lib"]
    library = next((str(path) for place in places for path in place.glob("**/faketime/libfaketime.so.1")), "")
    assert library, "libfaketime is not installed: scripts/setup test"
    return {
        "LD_PRELOAD": library,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("under_libfaketime")), *filter(None, sys.path)]),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
