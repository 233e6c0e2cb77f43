"""How hot the board is, by the kernel's thermal zones.

Source: Documentation/driver-api/thermal/sysfs-api of the Linux kernel. Raspberry Pi names its zone `cpu-thermal`;
Jetson has one for each part of the chip: `CPU-therm` or `cpu-thermal`, `gpu-thermal`, `soc0-thermal`, `tj-thermal`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from shoal_agent.board.sysfs import numbered, read_int, read_text

_COLDEST_C: Final = -60.0
_HOTTEST_C: Final = 200.0
"""What lies beyond is no temperature: Jetson says -256 of a part that is off."""
_PROCESSOR: Final = ("cpu", "gpu", "soc", "tj", "cv", "x86_pkg_temp", "coretemp", "ao-therm", "aux-therm")
"""How zones of the processor's own chip begin, lower case. `PMIC-Die` is none: some Jetsons say 100 of it for ever."""


class Zone(NamedTuple):
    """One thermal zone: its number, what its driver calls it, and its temperature."""

    number: int
    name: str
    celsius: float

    @property
    def is_processor(self) -> bool:
        """Whether it is of the processor's chip."""
        return self.name.lower().startswith(_PROCESSOR)


def thermal_zones(root: Path = Path("/")) -> tuple[Zone, ...]:
    """Return the zones that say a temperature, in their order."""
    zones = []
    for folder in numbered(root / "sys/class/thermal", "thermal_zone[0-9]*"):
        millicelsius = read_int(folder / "temp")
        if millicelsius is not None and _COLDEST_C <= millicelsius / 1000 <= _HOTTEST_C:
            name = read_text(folder / "type") or folder.name
            zones.append(Zone(int(folder.name.removeprefix("thermal_zone")), name, millicelsius / 1000))
    return tuple(zones)


def hottest_c(zones: Sequence[Zone]) -> float | None:
    """Return the temperature of the processor's hottest part; where no zone is of it, that of the first zone.

    None where there is no zone, as on most virtual machines.
    """
    of_processor = [zone.celsius for zone in zones if zone.is_processor]
    return max(of_processor, default=zones[0].celsius if zones else None)


def throttling_begins_c(root: Path = Path("/")) -> float | None:
    """Return the lowest temperature at which the kernel slows the processor down: its passive trip points.

    None where it has none, or nothing that can be one.
    """
    points = []
    for folder in numbered(root / "sys/class/thermal", "thermal_zone[0-9]*"):
        zone = Zone(0, read_text(folder / "type") or "", 0.0)
        for kind in numbered(folder, "trip_point_[0-9]*_type") if zone.is_processor else ():
            millicelsius = read_int(kind.with_name(kind.name.removesuffix("_type") + "_temp"))
            if read_text(kind) == "passive" and millicelsius is not None and 0 < millicelsius / 1000 <= _HOTTEST_C:
                points.append(millicelsius / 1000)
    return min(points, default=None)
