"""Sees before a step that the machine has the memory for it: a process that is killed for want of it says nothing."""

from pathlib import Path
from typing import Final

from shoal_compression.errors import TechniqueError

MEMINFO: Final = Path("/proc/meminfo")
COPIES_OF_A_STEP: Final = 4
"""The file, the graph that is read from it, the one that is made, and what the runtime holds of it."""
COPIES_OF_TRAINING: Final = 9
"""Besides: the weights, their gradients, two moments of each, and the best weights so far."""
_GIB: Final = 1 << 30


def check_memory(size_bytes: int, doing: str, *, trains: bool, meminfo: Path = MEMINFO) -> None:
    """See that a step on a file of this size fits the memory that is free; where that is not known, let it be.

    Raises:
        TechniqueError: It does not fit.
    """
    available = available_bytes(meminfo)
    needed = size_bytes * (COPIES_OF_TRAINING if trains else COPIES_OF_A_STEP)
    if available is not None and needed > available:
        found = f"about {needed / _GIB:.1f} GiB of memory needed for a file of {size_bytes / _GIB:.2f} GiB"
        step = "end other programs, or use a machine with more memory"
        raise TechniqueError(f"{doing}: {found}, {available / _GIB:.1f} GiB are available; {step}")


def available_bytes(meminfo: Path = MEMINFO) -> int | None:
    """Return the memory that programs could still take (Linux's `MemAvailable`); None where it is not told."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None
