"""What a simulation says of itself, as JSON lines: its state while it runs, and when versions became active.

Numbers of several processes add up; times are Unix times, so that those of several processes compare.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_Line = ConfigDict(frozen=True)


class VersionTimes(BaseModel):
    """When devices were asked for one version of a model, and when it was active on them (Unix time in s)."""

    model_config = _Line

    model: str
    version: int
    devices: int = 0
    first_wanted_at_s: float
    last_active_at_s: float | None = None


class FleetState(BaseModel):
    """How the devices of one process are."""

    model_config = _Line

    kind: Literal["state", "report"] = "state"
    devices: int
    enrolled: int
    states: dict[str, int] = Field(default_factory=dict)
    """Devices by `online`, `offline` (no connection) and `off` (no power)."""
    sections: dict[str, int] = Field(default_factory=dict)
    """Sections of the devices' desired states by how far they are."""
    active: dict[str, int] = Field(default_factory=dict)
    """Devices by what serves, as `model/version`."""
    versions: list[VersionTimes] = Field(default_factory=list)
    received_bytes: int = 0
    sent_bytes: int = 0
    faults: dict[str, int] = Field(default_factory=dict)
    activated_twice: int = 0
    """Deployments that a device's disk has made active more than once; there should be none."""
    cpu_s: float = 0.0


class FanOut(BaseModel):
    """What it took all devices to read the same chunks, with nothing done about them (Unix time in s)."""

    model_config = _Line

    kind: Literal["fan_out"] = "fan_out"
    started_at_s: float
    ended_at_s: float
    chunks: int
    received_bytes: int
    cpu_s: float


@dataclass
class _Times:
    first_wanted_at_s: float
    last_active_at_s: float | None = None
    devices: int = 0


class Milestones:
    """When versions were first wanted and last became active, over the devices of one process."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, int], _Times] = {}

    def wanted(self, model: str, version: int, at_s: float) -> None:
        """Note that a device was asked for a version."""
        self._times.setdefault((model, version), _Times(at_s))

    def active(self, model: str, version: int, at_s: float) -> None:
        """Note that a version became active on one more device."""
        times = self._times.setdefault((model, version), _Times(at_s))
        times.last_active_at_s = at_s
        times.devices += 1

    def to_report(self) -> list[VersionTimes]:
        """Return what was noted, by model and version."""
        return [
            VersionTimes(
                model=model,
                version=version,
                devices=one.devices,
                first_wanted_at_s=one.first_wanted_at_s,
                last_active_at_s=one.last_active_at_s,
            )
            for (model, version), one in sorted(self._times.items())
        ]
