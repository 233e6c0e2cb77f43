"""Sees before a step that the machine has the memory for it: a process that is killed for want of it says nothing."""

from pathlib import Path
from typing import Final

from shoal_compression.errors import TechniqueError

MEMINFO: Final = Path("/proc/meminfo")
COPIES_OF_WRITING: Final = 2
"""The graph that is read from a file, and the one that is made."""
COPIES_OF_COMPUTING: Final = 5
"""Besides: what is given to the runtime, and what it holds of it. Measured on 100 MB of weights: 5.2 to 6.2."""
COPIES_OF_TRAINING: Final = 9
"""Besides: the weights, their gradients, two moments of each, and the best weights so far. Measured: 8 to 12."""
_GIB: Final = 1 << 30


def check_memory(size_bytes: int, copies: int, doing: str, meminfo: Path = MEMINFO) -> None:
    """See that a step that holds so many copies of a file fits the memory that is free; where none is told, let it be.

    Raises:
        TechniqueError: It does not fit.
    """
    available = available_bytes(meminfo)
    needed = size_bytes * copies
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
