"""What the devices of a gate have counted: a numerator and a weight each, before and after; and how to get them.

Shares over a latency bound, percentiles and means come from the histograms that windows carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shoal_numerics.errors import GateError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DeviceTotals:
    """Sums over windows, device by device.

    Attributes:
        numerator: (..., devices) float64, for example errors, or the sum of what was measured.
        weight: (..., devices) float64 at least 0, for example samples; 0 where a device has said nothing.
    """

    numerator: NDArray[np.float64]
    weight: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            GateError: shapes differ, something is not finite, or a weight is negative.
        """
        doing = "Reading a gate's evidence"
        if self.numerator.shape != self.weight.shape or self.weight.ndim == 0:
            message = (
                f"{doing}: numerators {self.numerator.shape} and weights {self.weight.shape} must have the same shape, "
                "(..., devices)."
            )
            raise GateError(message)
        if {self.numerator.dtype, self.weight.dtype} != {np.dtype(np.float64)}:
            message = f"{doing}: found {self.numerator.dtype} and {self.weight.dtype}, expected float64."
            raise GateError(message)
        if not (np.isfinite(self.numerator).all() and np.isfinite(self.weight).all()):
            message = f"{doing}: a numerator or weight is not finite. Give a device without samples the weight 0."
            raise GateError(message)
        if (self.weight < 0).any():
            message = f"{doing}: a weight is {self.weight.min()}, expected at least 0."
            raise GateError(message)

    @property
    def values(self) -> NDArray[np.float64]:
        """Numerator over weight, (..., devices) float64; 0 where the weight is 0."""
        return np.divide(self.numerator, self.weight, out=np.zeros_like(self.weight), where=self.weight > 0)


@dataclass(frozen=True, eq=False)
class Evidence:
    """One metric of a gate, counted on canaries and on the controls of the same time.

    Attributes:
        before: totals under the old version, before the canaries got the new one.
        after: totals since then; controls are still on the old version.
        is_canary: (devices,) bool, drawn at random when the rollout started.
    """

    before: DeviceTotals
    after: DeviceTotals
    is_canary: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check that the three belong together.

        Raises:
            GateError: shapes or dtype do not fit.
        """
        devices = self.after.weight.shape[-1:]
        if self.before.weight.shape != self.after.weight.shape or self.is_canary.shape != devices:
            message = (
                f"Reading a gate's evidence: before {self.before.weight.shape}, after {self.after.weight.shape} and "
                f"is_canary {self.is_canary.shape} must be of the same devices."
            )
            raise GateError(message)
        if self.is_canary.dtype != np.bool_:
            message = f"Reading a gate's evidence: is_canary is {self.is_canary.dtype}, expected bool."
            raise GateError(message)


def histogram_share_over(counts: NDArray[np.int64], edges: Sequence[float], bound: float) -> DeviceTotals:
    """Return the values above a bound, of all values: exact, for bounds that are edges.

    Args:
        counts: (devices, len(edges) + 1) int64, the outer bins open, each bin with its upper edge.
        edges: interior edges, strictly increasing, for example the contract's LATENCY_EDGES_MS.
        bound: one of the edges, of the same unit.

    Raises:
        GateError: another number of bins, or a bound that is no edge.
    """
    _check_bins(counts, edges)
    if bound not in edges:
        message = f"Counting values over {bound}: it is no edge of the histogram, expected one of {tuple(edges)}."
        raise GateError(message)
    over = counts[:, list(edges).index(bound) + 1 :].sum(axis=1)
    return DeviceTotals(over.astype(np.float64), counts.sum(axis=1).astype(np.float64))


def histogram_quantile(counts: NDArray[np.int64], edges: Sequence[float], q: float) -> DeviceTotals:
    """Return each device's quantile, for example its p95, as totals: quantile times values, and values.

    Within a bin it is interpolated on the logarithm, since the edges of latencies double. The outer bins have no
    width: there it is the outermost edge, and a change beyond it is not seen.

    Args:
        counts: (devices, len(edges) + 1) int64, the outer bins open.
        edges: interior edges, positive and strictly increasing.
        q: above 0 and below 1.

    Raises:
        GateError: another number of bins, edges that are not positive, or q out of range.
    """
    _check_bins(counts, edges)
    if not 0 < q < 1 or min(edges) <= 0:
        message = (
            f"Reading quantiles: q is {q} and the least edge {min(edges)}; expected 0 < q < 1 and an edge above 0."
        )
        raise GateError(message)
    logs = np.log(np.asarray(edges, dtype=np.float64))
    lower, upper = np.concatenate([logs[:1], logs]), np.concatenate([logs, logs[-1:]])
    cumulated = np.cumsum(counts, axis=1)
    weight = cumulated[:, -1].astype(np.float64)
    rank = q * weight[:, np.newaxis]
    bins = np.argmax((cumulated >= rank) & (cumulated > 0), axis=1)
    rows = np.arange(len(counts))
    held = np.maximum(counts[rows, bins], 1)
    within = (rank[:, 0] - (cumulated[rows, bins] - counts[rows, bins])) / held
    found = np.exp(lower[bins] + np.clip(within, 0.0, 1.0) * (upper[bins] - lower[bins]))
    return DeviceTotals(found * weight, weight)


def histogram_mean(counts: NDArray[np.int64], middles: Sequence[float]) -> DeviceTotals:
    """Return each device's sum and number of values, each value taken as its bin's middle.

    Args:
        counts: (devices, bins) int64.
        middles: what a value of each bin counts as, for example 0.05 for confidences from 0 to 0.1.

    Raises:
        GateError: another number of bins.
    """
    if counts.ndim != 2 or counts.shape[1] != len(middles):  # noqa: PLR2004 - devices and bins
        message = f"Taking means of histograms: counts are {counts.shape}, expected (devices, {len(middles)})."
        raise GateError(message)
    sums: NDArray[np.float64] = counts.astype(np.float64) @ np.asarray(middles, dtype=np.float64)
    return DeviceTotals(sums, counts.sum(axis=1).astype(np.float64))


def _check_bins(counts: NDArray[np.int64], edges: Sequence[float]) -> None:
    if counts.ndim != 2 or counts.shape[1] != len(edges) + 1:  # noqa: PLR2004 - devices and bins
        message = f"Reading histograms: counts are {counts.shape}, expected (devices, {len(edges) + 1})."
        raise GateError(message)
    if len(counts) and counts.min() < 0:
        message = f"Reading histograms: a count is {counts.min()}, expected at least 0."
        raise GateError(message)
