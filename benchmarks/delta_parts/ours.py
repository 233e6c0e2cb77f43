"""Makes or applies one delta in a process of its own: `ours.py make|apply OLD INPUT OUT`; prints what the call cost.

The interpreter's start is left out of the CPU time, as the hub's job and the agent run already. The peak of memory is
the whole process's, which is why what it held before the call is told as well.
"""

import json
import sys
import time
from pathlib import Path

from shoal_numerics.delta import apply_delta, best_delta


def main(what: str, old: Path, given: Path, out: Path) -> None:
    """Read, measure the call, write."""
    start_mb = resident_mb()
    base, data = old.read_bytes(), given.read_bytes()
    began_s = time.process_time()
    made = best_delta(base, data) if what == "make" else apply_delta(base, data, 1 << 30)
    spent_s = time.process_time() - began_s
    out.write_bytes(data if made is None else made)
    print(json.dumps({"cpu_s": spent_s, "start_mb": start_mb}))


def resident_mb() -> float:
    """Return the memory of this process now, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return kib * 1024 / 1e6


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
