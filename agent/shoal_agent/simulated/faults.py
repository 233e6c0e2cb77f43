"""Which faults a simulated device has: drawn from a seed, so that the same fleet has the same ones again. Pure."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

_FIRST_OPERATIONS: Final = 24
"""A power cut comes at one of so many of the disk's first writes after a wish: all of a small update, and more."""


@dataclass(frozen=True)
class FaultRates:
    """How probable each fault is, from 0 to 1.

    Attributes:
        offline: Of a device, that it loses its line again and again.
        slow_link: Of a device, that its line is slow.
        power_cut: Of a device and a deployment, that its power is cut once at some write of the disk.
        bad_disk: Of a write, that the disk fails it, on one device in four.
        failing_model: Of a device and a version, that the version can not run there.
    """

    offline: float = 0.0
    slow_link: float = 0.0
    power_cut: float = 0.0
    bad_disk: float = 0.0
    failing_model: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not 0 <= value <= 1:
                msg = f"fault rate {one.name}: {value} found, from 0 to 1 expected"
                raise ValueError(msg)


@dataclass(frozen=True)
class FaultTimes:
    """How long faults last.

    Attributes:
        online_s: Mean time with a line, on a device that loses it.
        offline_s: Mean time without.
        power_off_s: From a power cut to the next boot.
        slow_bytes_per_s: What a slow line carries down.
    """

    online_s: float = 20.0
    offline_s: float = 10.0
    power_off_s: float = 2.0
    slow_bytes_per_s: float = 64_000.0


class DeviceFaults:
    """The faults of one device.

    Args:
        seed: Of the whole simulation.
        index: The device's number in it.
        rates: How probable each is.
        times: How long they last.
    """

    def __init__(self, seed: int, index: int, rates: FaultRates, times: FaultTimes) -> None:
        self._name = f"{seed}/{index}"
        self._rates = rates
        self._times = times
        self._line = self._random("line")
        self._disk = self._random("disk")
        self.loses_line = self._random("offline").random() < rates.offline
        self.bytes_per_s = times.slow_bytes_per_s if self._random("slow").random() < rates.slow_link else None
        self._has_bad_disk = self._random("bad disk").random() < 0.25  # noqa: PLR2004 - as FaultRates says

    def next_outage(self) -> tuple[float, float]:
        """Return after how long the line is lost next, and for how long; both in seconds, exponentially distributed."""
        return self._line.expovariate(1 / self._times.online_s), self._line.expovariate(1 / self._times.offline_s)

    def fails_write(self) -> bool:
        """Whether the disk fails its next write."""
        return self._has_bad_disk and self._disk.random() < self._rates.bad_disk

    def power_cut_at(self, wish: int) -> int | None:
        """Return at which of the disk's writes, counted from 1, the power is cut; None for never.

        Args:
            wish: How many deployments the device has been asked for before.
        """
        drawn = self._random(f"power {wish}")
        return drawn.randint(1, _FIRST_OPERATIONS) if drawn.random() < self._rates.power_cut else None

    def fails_model(self, sha256: str) -> bool:
        """Whether a variant's file can not run on this device."""
        return self._random(f"model {sha256}").random() < self._rates.failing_model

    @property
    def power_off_s(self) -> float:
        """From a power cut to the next boot."""
        return self._times.power_off_s

    def _random(self, what: str) -> random.Random:
        return random.Random(f"{self._name}/{what}")  # noqa: S311 - has to be the same again, and is no secret


def parse_rates(given: Mapping[str, float]) -> FaultRates:
    """Return the rates by name, as the command line gives them.

    Raises:
        ValueError: A name or a value is none.
    """
    known = {one.name for one in fields(FaultRates)}
    unknown = sorted(set(given) - known)
    if unknown:
        msg = f"fault {', '.join(unknown)}: unknown; there are {', '.join(sorted(known))}"
        raise ValueError(msg)
    return FaultRates(**given)
