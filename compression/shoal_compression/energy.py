"""Reads the energy that the processor takes, where Linux shows its meter (RAPL) to this process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/class/powercap")
PACKAGES: Final = "intel-rapl:[0-9]"
"""One for each processor package; AMD's have the same names. Parts of a package lie below it."""


@dataclass(frozen=True)
class EnergyMeter:
    """The machine's meters; without one, nothing is said of energy."""

    root: Path = ROOT

    def millijoules(self, work: Callable[[], object], times: int) -> float | None:
        """Return the energy in mJ of one of `times` equal parts of the work, all processes of the machine included.

        None where there is no meter; the work is not done then.
        """
        before = self._read()
        if before is None:
            return None
        work()
        after = self._read()
        if after is None or after.keys() != before.keys():
            return None
        used = sum(_risen(before[name], after[name], self._range(name)) for name in before)
        return used / 1000 / max(1, times)

    def _read(self) -> dict[str, int] | None:
        """Return the counts in µJ by package; None where one can not be read."""
        folders = sorted(self.root.glob(PACKAGES)) if self.root.is_dir() else []
        try:
            return {one.name: int((one / "energy_uj").read_text()) for one in folders} or None
        except (OSError, ValueError):
            return None  # only root may read it on most systems

    def _range(self, name: str) -> int:
        try:
            return int((self.root / name / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            return 0


def _risen(before: int, after: int, largest: int) -> int:
    """Return by how much a count has risen; it begins again behind its largest value."""
    return after - before if after >= before else after + max(largest - before, 0)
