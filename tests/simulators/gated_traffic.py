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

    @property
    def is_canary(self) -> NDArray[np.bool_]:
        """(devices,) bool. Devices are alike before the draw, so which ones they are makes no difference."""
        return np.arange(self.canaries + self.controls) < self.canaries


def looks(traffic: Traffic, rollouts: int, seed: int) -> Iterator[Evidence]:
    """Yield what the devices have counted after each window, with arrays of (rollouts, devices)."""
    random = np.random.default_rng(seed)
    shape = (rollouts, traffic.canaries + traffic.controls)
    level = np.where(traffic.is_canary, _level(traffic, traffic.new_rate), _level(traffic, traffic.rate))
    own = random.normal(0.0, 1.0, shape) * traffic.device_sd
    start = random.integers(0, DAY, (rollouts, 1))
    errors, requests = np.zeros(shape), np.zeros(shape)
    for window in range(-traffic.before_windows, 0):
        _count(traffic, random, _level(traffic, traffic.rate) + own, start + window, errors, requests)
    before = DeviceTotals(errors, requests)
    errors, requests = np.zeros(shape), np.zeros(shape)
    for window in range(traffic.windows):
        _count(traffic, random, level + own, start + window, errors, requests)
        yield Evidence(before, DeviceTotals(errors.copy(), requests.copy()), traffic.is_canary)


def _count(
    traffic: Traffic,
    random: np.random.Generator,
    logit: NDArray[np.float64],
    hour: NDArray[np.int64],
    errors: NDArray[np.float64],
    requests: NDArray[np.float64],
) -> None:
    """Add one window's counts in place."""
    effect, demand = _of_hour(traffic, hour)
    made = random.poisson(np.broadcast_to(traffic.requests * demand, logit.shape))
    requests += made
    errors += random.binomial(made, _chance(logit + effect))


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
