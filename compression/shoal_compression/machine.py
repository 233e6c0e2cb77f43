"""What of a machine decides what a file answers and how fast: figures of one kind of machine are no other's."""

import platform
from pathlib import Path
from typing import Final

from shoal_compression.values import Record

CPUINFO: Final = Path("/proc/cpuinfo")
COUNTING_FLAGS: Final = frozenset({"avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimddp", "i8mm", "sve"})
"""By which runtimes choose their integer kernels; without VNNI sums of products of signed weights saturate."""


class MachineKind(Record):
    """Of the processor."""

    architecture: str
    flags: tuple[str, ...]
    """Those of `COUNTING_FLAGS` that it has, as Linux names them; empty elsewhere."""


def machine_kind(cpuinfo: Path = CPUINFO) -> MachineKind:
    """Return what kind of machine this is."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    first = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    flags = COUNTING_FLAGS & set(first.partition(":")[2].split())
    return MachineKind(architecture=platform.machine(), flags=tuple(sorted(flags)))
