"""Finds the range of each activation: its least and largest value, or a narrower one that loses less by rounding."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from shoal_compression.data import Samples
from shoal_compression.errors import SourceError
from shoal_compression.model import Model
from shoal_compression.techniques.quantize.observing import float_tensors, observe
from shoal_numerics.tensors import Array

Calibration = Literal["min-max", "percentile", "mse", "entropy"]
Floats = npt.NDArray[np.float64]
Range = tuple[float, float]
BINS: Final = 2048
FEWEST_BINS: Final = 256
"""A range of fewer is told too coarsely for as many levels."""
LEVELS: Final = 256
SHARES: Final = np.linspace(1.0, 0.2, 41)
"""Of the whole range, that a narrower one may have."""


@dataclass(frozen=True)
class Seen:
    """What one activation was seen to be: counts (2048,) of values between `low` and `high`."""

    low: float
    high: float
    counts: Floats
    below: float = 0.0
    """Count of the values below `low`."""
    above: float = 0.0

    @property
    def edges(self) -> Floats:
        """The ends of the bins, one more than bins."""
        return np.linspace(self.low, self.high, len(self.counts) + 1)

    @property
    def centres(self) -> Floats:
        """The middle of each bin."""
        edges = self.edges
        return np.asarray((edges[1:] + edges[:-1]) / 2)


def find_ranges(
    proto: Any,  # noqa: ANN401 - a message of ONNX
    model: Model,
    samples: Samples,
    method: Calibration,
    percentile: float,
    threads: int,
) -> dict[str, Range]:
    """Return the range of every float activation of a graph.

    Raises:
        SourceError: The graph does not run on the samples, or gives values that are not finite.
    """
    names = float_tensors(proto)
    whole: dict[str, Range] = {}
    for found in observe(proto, model, samples, names, threads):
        for name, array in found.items():
            if array.size:
                low, high = whole.get(name, (np.inf, -np.inf))
                whole[name] = (min(low, float(array.min())), max(high, float(array.max())))
    endless = [name for name, (low, high) in whole.items() if not np.isfinite([low, high]).all()]
    if endless:
        msg = f"calibrating: {endless[0]} is not finite on the samples"
        raise SourceError(f"{msg}; see what the model computes there, and leave out the samples that cause it")
    if method == "min-max":
        return whole
    choose: dict[str, Callable[[Seen], Range]] = {
        "percentile": lambda seen: by_percentile(seen, percentile),
        "mse": by_mse,
        "entropy": by_entropy,
    }
    wide = {name: (low, high) for name, (low, high) in whole.items() if high > low}
    seen = _histograms(proto, model, samples, wide, threads)
    if method == "percentile":
        few = {name: ends for name, one in seen.items() if (ends := too_coarse(one, percentile)) is not None}
        seen |= _histograms(proto, model, samples, few, threads)
    return whole | {name: choose[method](one) for name, one in seen.items()}


def _histograms(
    proto: Any,  # noqa: ANN401 - as above
    model: Model,
    samples: Samples,
    ranges: Mapping[str, Range],
    threads: int,
) -> dict[str, Seen]:
    seen = {name: Seen(*ends, np.zeros(BINS)) for name, ends in ranges.items()}
    for found in observe(proto, model, samples, list(ranges), threads):
        seen |= {name: with_values(seen[name], array) for name, array in found.items()}
    return seen


def with_values(seen: Seen, values: Array) -> Seen:
    """Return what was seen with more values, of any shape."""
    values = values.astype(np.float64)  # in float32 the edges of narrow bins are not told apart
    counts = seen.counts + np.histogram(values, BINS, (seen.low, seen.high))[0]
    below, above = int((values < seen.low).sum()), int((values > seen.high).sum())
    return replace(seen, counts=counts, below=seen.below + below, above=seen.above + above)


def by_percentile(seen: Seen, percentile: float) -> Range:
    """Return the range that leaves out at most (100 - `percentile`) % of the values, half at either end.

    Its ends are edges of bins: it is wider than it has to be by less than a bin at either end.
    """
    first, last = _kept_bins(seen, percentile)
    edges = seen.edges
    return float(edges[first]), float(edges[last + 1])


def too_coarse(seen: Seen, percentile: float) -> Range | None:
    """Return the range to look at again, in narrower bins, where the values lie in few of these; None: in enough."""
    first, last = _kept_bins(seen, percentile)
    low, high = by_percentile(seen, percentile)
    return (low, high) if last - first + 1 < FEWEST_BINS and high > low else None


def _kept_bins(seen: Seen, percentile: float) -> tuple[int, int]:
    """Return the first and the last bin of those that a percentile keeps."""
    rest = (1 - percentile / 100) / 2 * (seen.below + seen.counts.sum() + seen.above)
    first = np.searchsorted(seen.below + np.cumsum(seen.counts), rest, side="right")
    behind = np.searchsorted(seen.above + np.cumsum(seen.counts[::-1]), rest, side="right")
    bins = len(seen.counts)
    return min(int(first), bins - 1), max(bins - 1 - int(behind), 0)


def by_mse(seen: Seen) -> Range:
    """Return the range, of those at most as wide as what was seen, whose rounding has the least squared error."""
    return _search(seen, _squared_error)


def by_entropy(seen: Seen) -> Range:
    """Return the range whose 256 levels say most of the values: least Kullback-Leibler divergence (Migacz 2017)."""
    return _search(seen, _divergence)


def _search(seen: Seen, loss: Callable[[Seen, float, float], float]) -> Range:
    """Narrow the upper end, then the lower; an end at zero stays."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    if high > 0:
        high = float(min(SHARES * high, key=lambda end: loss(seen, low, end)))
    if low < 0:
        low = float(min(SHARES * low, key=lambda end: loss(seen, end, high)))
    return low, high


def _squared_error(seen: Seen, low: float, high: float) -> float:
    step = max((high - low) / (LEVELS - 1), np.finfo(np.float64).tiny)
    zero = np.round(-low / step)
    rounded = (np.clip(np.round(seen.centres / step) + zero, 0, LEVELS - 1) - zero) * step
    return float((seen.counts * (seen.centres - rounded) ** 2).sum())


def _divergence(seen: Seen, low: float, high: float) -> float:
    """Return what 256 levels of a range lose of the values' distribution; what lies beyond counts at its ends."""
    centres = seen.centres
    inside = (centres >= low) & (centres <= high)
    first, last = np.flatnonzero(inside)[[0, -1]] if inside.any() else (0, 0)
    if last <= first:
        return np.inf
    kept = seen.counts[first : last + 1]
    true = kept.copy()
    true[0] += seen.counts[:first].sum()
    true[-1] += seen.counts[last + 1 :].sum()
    level = np.minimum((centres[first : last + 1] - low) / (high - low) * LEVELS, LEVELS - 1).astype(np.int64)
    filled = (true > 0).astype(np.float64)
    sums, sizes = np.bincount(level, kept, LEVELS), np.bincount(level, filled, LEVELS)
    told = (sums / np.maximum(sizes, 1))[level] * filled
    if told.sum() == 0:
        return np.inf
    p, q = true / true.sum(), np.maximum(told / told.sum(), 1e-12)
    where = p > 0
    return float((p[where] * np.log(p[where] / q[where])).sum())
