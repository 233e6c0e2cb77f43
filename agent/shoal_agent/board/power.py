"""What the board draws, by its hardware monitors.

Sources: Documentation/hwmon/sysfs-interface and Documentation/hwmon/ina3221 of the Linux kernel. A Jetson has its rails
on INA3221 chips, which give millivolts and milliamperes by channel; other chips give microwatts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from shoal_agent.board.sysfs import numbered, read_int, read_text

_MICROWATTS: Final = 1e6
_INA3221_CHANNELS: Final = (1, 2, 3)
"""What it gives beyond them is the voltage at the shunts, and sums."""


class Rail(NamedTuple):
    """One supply: the chip that measures it, what the board calls it, and its power."""

    chip: str
    name: str
    watts: float


def power_rails(root: Path = Path("/")) -> tuple[Rail, ...]:
    """Return the rails whose power the board tells; of two of one name on one chip, the first."""
    rails: dict[tuple[str, str], Rail] = {}
    for folder in numbered(root / "sys/class/hwmon", "hwmon[0-9]*"):
        chip = read_text(folder / "name") or folder.name
        for rail in _of_ina3221(folder, chip) if chip == "ina3221" else _of_power(folder, chip):
            rails.setdefault((rail.chip, rail.name), rail)
    return tuple(rails.values())


def _of_ina3221(folder: Path, chip: str) -> Iterator[Rail]:
    for channel in _INA3221_CHANNELS:
        millivolts = read_int(folder / f"in{channel}_input")
        milliamperes = read_int(folder / f"curr{channel}_input")
        if millivolts is not None and milliamperes is not None:
            name = read_text(folder / f"in{channel}_label") or f"{folder.name}-in{channel}"
            yield Rail(chip, name, millivolts * milliamperes / _MICROWATTS)


def _of_power(folder: Path, chip: str) -> Iterator[Rail]:
    for path in numbered(folder, "power[0-9]*_*"):
        place, _, kind = path.name.partition("_")
        has_better = kind == "average" and (folder / f"{place}_input").exists()
        microwatts = read_int(path) if kind in {"input", "average"} and not has_better else None
        if microwatts is not None:
            name = read_text(folder / f"{place}_label") or f"{folder.name}-{place}"
            yield Rail(chip, name, microwatts / _MICROWATTS)
