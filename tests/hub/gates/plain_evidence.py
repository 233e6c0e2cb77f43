"""A gate's evidence window by window, in plain Python: what `collect` has to come to, whatever way it takes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.gates.evidence import Times
from shoal_hub.monitoring.tables import WindowRow
from shoal_numerics import DeviceTotals, Evidence, histogram_quantile, histogram_share_over

BINS = len(LATENCY_EDGES_MS) + 1


class Compared(NamedTuple):
    """Who is compared: device ids on both sides."""

    model: str
    version: int
    against: int | None
    canaries: Collection[str]
    controls: Collection[str]


class _Device:
    """Sums of one device over one stretch of time."""

    def __init__(self) -> None:
        self.errors = self.requests = self.correct = self.labelled = 0
        self.drift = self.confidence = 0.0
        self.drifted = self.answers = 0
        self.latency = [0] * BINS

    def add(self, window: WindowRow, middles: Mapping[int, Sequence[float]]) -> None:
        self.requests += window.requests
        self.errors += min(window.errors, window.requests)
        self.labelled += window.labelled
        self.correct += min(window.correct, window.labelled)
        if window.drift is not None:
            self.drift += window.drift * window.samples
            self.drifted += window.samples
        if len(window.latency) == BINS:
            self.latency = [one + more for one, more in zip(self.latency, window.latency, strict=True)]
        of_version = middles.get(window.version, ())
        if of_version and len(window.confidence) == len(of_version):
            pairs = zip(window.confidence, of_version, strict=True)
            self.confidence += sum(count * middle for count, middle in pairs)
            self.answers += sum(window.confidence)

    def counts(self, metric: str) -> tuple[float, float]:
        """Return numerator and weight."""
        return {
            "error_rate": (self.errors, self.requests),
            "accuracy": (self.correct, self.labelled),
            "drift": (self.drift, self.drifted),
            "confidence": (self.confidence, self.answers),
        }[metric]


def plain_evidence(
    windows: Sequence[WindowRow],
    compared: Compared,
    times: Times,
    middles: Mapping[int, Sequence[float]],
    metric: str,
    bound_ms: float,
) -> Evidence:
    """Return one metric's evidence, the canaries first; devices without windows weigh nothing."""
    sides = [(device_id, True) for device_id in sorted(compared.canaries)]
    sides += [(device_id, False) for device_id in sorted(compared.controls)]
    before, after = [_Device() for _ in sides], [_Device() for _ in sides]
    for place, (device_id, is_canary) in enumerate(sides):
        for window in windows:
            if (window.device_id, window.model) != (device_id, compared.model) or window.started_at < times.before_at:
                continue
            if window.started_at < times.began_at and window.version != compared.version:
                before[place].add(window, middles)
            elif _is_in(window.started_at, times) and _serves(window, compared, is_canary=is_canary):
                after[place].add(window, middles)
    is_canary_at = np.array([is_canary for _, is_canary in sides], dtype=np.bool_)
    return Evidence(_totals(before, metric, bound_ms), _totals(after, metric, bound_ms), is_canary_at)


def _is_in(started_at: datetime, times: Times) -> bool:
    return times.wave_at <= started_at and (times.until_at is None or started_at <= times.until_at)


def _serves(window: WindowRow, compared: Compared, *, is_canary: bool) -> bool:
    if is_canary:
        return window.version == compared.version
    return window.version != compared.version and compared.against in {None, window.version}


def _totals(devices: Sequence[_Device], metric: str, bound_ms: float) -> DeviceTotals:
    latency = np.array([one.latency for one in devices], dtype=np.int64).reshape(-1, BINS)
    if metric == "slow_requests":
        return histogram_share_over(latency, LATENCY_EDGES_MS, bound_ms)
    if metric == "p95_latency":
        return histogram_quantile(latency, LATENCY_EDGES_MS, 0.95)
    counts = np.array([one.counts(metric) for one in devices], dtype=np.float64).reshape(-1, 2)
    return DeviceTotals(counts[:, 0], counts[:, 1])
