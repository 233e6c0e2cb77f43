"""Finds the range of each activation: its least and largest value, or a narrower one that loses less by rounding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from shoal_compression.data import Samples
from shoal_compression.errors import SourceError
from shoal_compression.model import Model
from shoal_compression.techniques.quantize.observing import float_tensors, observe

Calibration = Literal["min-max", "percentile", "mse", "entropy"]
Floats = npt.NDArray[np.float64]
Range = tuple[float, float]
BINS: Final = 2048
LEVELS: Final = 256
SHARES: Final = np.linspace(1.0, 0.2, 41)
"""Of the whole range, that a narrower one may have."""


@dataclass(frozen=True)
class Seen:
    """What one activation was seen to be: counts (2048,) of values between `low` and `high`."""

    low: float
    high: float
    counts: Floats

    @property
    def centres(self) -> Floats:
        """The middle of each bin."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
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
    counts = {name: np.zeros(BINS) for name, (low, high) in whole.items() if high > low}
    for found in observe(proto, model, samples, list(counts), threads):
        for name, array in found.items():
            counts[name] += np.histogram(array, BINS, whole[name])[0]
    return whole | {name: choose[method](Seen(*whole[name], found)) for name, found in counts.items()}


def by_percentile(seen: Seen, percentile: float) -> Range:
    """Return the range that leaves out (100 - `percentile`) % of the values, half at either end."""
    shares = np.cumsum(seen.counts) / seen.counts.sum()
    rest = (1 - percentile / 100) / 2
    low, high = np.searchsorted(shares, [rest, 1 - rest])
    centres = seen.centres
    low_end = seen.low if low == 0 else float(centres[low])
    high_end = seen.high if high >= len(centres) - 1 else float(centres[high])
    return low_end, high_end


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
