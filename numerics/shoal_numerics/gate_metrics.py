"""What a gate is told of a metric: which way is worse, how much worse matters, and the least evidence for a test."""

import math
from dataclasses import dataclass
from typing import Literal

from shoal_numerics.device_comparison import MetricKind
from shoal_numerics.errors import GateError

Worse = Literal["higher", "lower", "either"]
Verdict = Literal["abort", "advance", "hold", "not_tested"]


@dataclass(frozen=True)
class GateMetric:
    """One metric of a gate.

    Attributes:
        name: as in the budget, for example `error_rate`.
        kind: `share` (errors of samples), `count` (restarts of device days) or `mean` (degrees of readings).
        margin: a harm as large as this must be ruled out before the wave advances; in the metric's unit.
        worse: which way harm lies; `either` for shifts, such as that of the confidence.
        tolerance: only a harm above it aborts; from 0, below the margin, in the metric's unit.
        min_devices: devices with samples that each arm needs for a test.
        min_samples: weight that each arm needs for a test, for example 100 samples.
        max_device_share: the largest share of an arm that one device may carry; at least 1 / min_devices.
    """

    name: str
    kind: MetricKind
    margin: float
    worse: Worse = "higher"
    tolerance: float = 0.0
    min_devices: int = 10
    min_samples: float = 100.0
    max_device_share: float = 0.2

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            GateError: a setting out of its range.
        """
        doing = f"Setting the gate's metric {self.name!r}"
        if not (math.isfinite(self.margin) and 0 <= self.tolerance < self.margin):
            message = (
                f"{doing}: found tolerance {self.tolerance} and margin {self.margin}, expected 0 <= tolerance < margin."
            )
            raise GateError(message)
        if self.min_devices < 1 or not self.min_samples > 0:
            message = (
                f"{doing}: found min_devices {self.min_devices} and min_samples {self.min_samples}, expected "
                "more than 0."
            )
            raise GateError(message)
        if not 1 / self.min_devices <= self.max_device_share <= 1:
            message = (
                f"{doing}: with {self.min_devices} devices none can be kept to a share of {self.max_device_share}. "
                f"Set max_device_share to {1 / self.min_devices:.3g} or more, at most 1, or raise min_devices."
            )
            raise GateError(message)
