"""Rollouts before a gate: requests and errors of devices that differ, with a day cycle, many rollouts at once.

A device's error rate is a logit: a common level, its own effect, the hour's effect and, on canaries, the new version's.
Levels are set so that errors are `rate` of all requests, whatever devices and hours add.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal_numerics import DeviceTotals, Evidence

DAY = 24
"""Windows in a day."""

_CYCLE_LOGIT = 0.5
_TRAFFIC_SWING = 0.5
_KEPT = 0.98
"""Of what wanders, from one window to the next."""


@dataclass(frozen=True)
class Traffic:
    """One kind of rollout.

    Attributes:
        canaries: devices with the new version.
        controls: devices that stay on the old one.
        requests: mean number of a device in a window (Poisson).
        windows: looks.
        device_sd: standard deviation of devices' effects, logit.
        has_day: whether errors (by ± 0.5 logit) and requests (by ± 50 %) follow the hour.
        rate: share of errors under the old version.
        new_rate: the same under the new one.
        before_windows: how long devices were watched under the old version.
        requests_spread: standard deviation of the logarithm of devices' requests.
        has_own_hours: whether each device has its own hour; else they share one.
        wander_sd: standard deviation of a part of each device's effect that changes slowly, logit.
        burst_sd: standard deviation of a part that is drawn anew in each window, logit.
    """

    canaries: int = 20
    controls: int = 20
    requests: float = 20.0
    windows: int = 25
    device_sd: float = 0.0
    has_day: bool = False
    rate: float = 0.05
    new_rate: float = 0.05
    before_windows: int = 2 * DAY
    requests_spread: float = 0.0
    has_own_hours: bool = False
    wander_sd: float = 0.0
    burst_sd: float = 0.0

    @property
    def is_canary(self) -> NDArray[np.bool_]:
        """(devices,) bool. Devices are alike before the draw, so which ones they are makes no difference."""
        return np.arange(self.canaries + self.controls) < self.canaries


def looks(traffic: Traffic, rollouts: int, seed: int) -> Iterator[Evidence]:
    """Yield what the devices have counted after each window, with arrays of (rollouts, devices)."""
    fleet = _Fleet(traffic, rollouts, np.random.default_rng(seed))
    old, new = _level(traffic, traffic.rate), _level(traffic, traffic.new_rate)
    before = fleet.nothing()
    for window in range(-traffic.before_windows, 0):
        before = fleet.counted(before, window, np.array(old))
    after = fleet.nothing()
    for window in range(traffic.windows):
        after = fleet.counted(after, window, np.where(traffic.is_canary, new, old))
        yield Evidence(before, after, traffic.is_canary)


class _Fleet:
    """The devices of many rollouts. Draws come in the same order for each seed."""

    def __init__(self, traffic: Traffic, rollouts: int, random: np.random.Generator) -> None:
        self.traffic, self.random = traffic, random
        self.shape = (rollouts, traffic.canaries + traffic.controls)
        self.own = random.normal(0.0, 1.0, self.shape) * traffic.device_sd
        self.start = random.integers(0, DAY, self.shape if traffic.has_own_hours else (rollouts, 1))
        self.busy = np.exp(self._drawn(traffic.requests_spread) - traffic.requests_spread**2 / 2)
        self.wander = self._drawn(traffic.wander_sd)

    def nothing(self) -> DeviceTotals:
        """Return totals before any window."""
        return DeviceTotals(np.zeros(self.shape), np.zeros(self.shape))

    def counted(self, totals: DeviceTotals, window: int, level: NDArray[np.float64]) -> DeviceTotals:
        """Return the totals with one more window."""
        effect, demand = _of_hour(self.traffic, self.start + window)
        self.wander = _KEPT * self.wander + np.sqrt(1 - _KEPT**2) * self._drawn(self.traffic.wander_sd)
        logit = level + self.own + effect + self.wander + self._drawn(self.traffic.burst_sd)
        made = self.random.poisson(np.broadcast_to(self.traffic.requests * demand * self.busy, self.shape))
        errors = self.random.binomial(made, _chance(logit))
        return DeviceTotals(totals.numerator + errors, totals.weight + made)

    def _drawn(self, sd: float) -> NDArray[np.float64]:
        """Return a draw for each device; none is made for 0, so that it changes no other."""
        return self.random.normal(0.0, sd, self.shape) if sd else np.zeros(self.shape)


def _of_hour(traffic: Traffic, hour: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the hour adds to the logit, and its factor on the requests."""
    wave = np.sin(2 * np.pi * hour / DAY) * float(traffic.has_day)
    return _CYCLE_LOGIT * wave, 1.0 + _TRAFFIC_SWING * wave


def _level(traffic: Traffic, rate: float) -> float:
    """Return the logit at which errors are `rate` of all requests over a day, by halving."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    effect, demand = _of_hour(traffic, np.arange(DAY))
    added = traffic.device_sd * nodes[:, np.newaxis] + effect
    share = weights[:, np.newaxis] * demand
    low, high = -15.0, 15.0
    for _ in range(60):
        middle = (low + high) / 2
        is_below = (share * _chance(middle + added)).sum() / share.sum() < rate
        low, high = (middle, high) if is_below else (low, middle)
    return (low + high) / 2


def _chance(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    chance: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-logit))
    return chance
