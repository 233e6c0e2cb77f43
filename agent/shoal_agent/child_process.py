"""What a child process of the agent does before anything else: it ends with the agent, and is held to its limits."""

import ctypes
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def end_with(parent_pid: int) -> None:
    """Have the kernel end this process with its parent: an orphan would write over what the next one writes.

    Raises:
        SystemExit: The parent has ended before the kernel could be asked, and would never be seen to end.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise SystemExit(f"starting for process {parent_pid}: it has ended")


def bound(kind: int, most: int) -> None:
    """Set a limit, one of the `resource.RLIMIT_` kinds; where the system's own is lower, that one holds."""
    hard = resource.getrlimit(kind)[1]
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (limit, limit))


def end_first() -> None:
    """Have the kernel choose this process, and not the agent, where memory runs out; without /proc it does nothing."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
