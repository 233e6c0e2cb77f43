"""Times files side by side at batch 1, in one thread of ONNX Runtime: in turn, so that both meet the same machine."""

import time
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

from shoal_compression.data import Samples
from shoal_compression.model import Model
from shoal_compression.running import load

REQUESTS = 40
"""In a turn of one file."""


class Timed(NamedTuple):
    """A file's time."""

    p50_ms: float
    faster: float
    """How many times as fast as the first file: the median of the turns' ratios."""


def side_by_side(models: Mapping[str, Model], samples: Samples, rounds: int) -> dict[str, Timed]:
    """Return the time of each file; the first is what the others are compared with."""
    runs = {name: load(model) for name, model in models.items()}
    feeds = list(samples.first(REQUESTS).feeds(next(iter(models.values()))))
    turns: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            times = []
            for feed in feeds:
                began_s = time.perf_counter()
                run(feed)
                times.append((time.perf_counter() - began_s) * 1000)
            turns[name].append(median(times))
    kept = {name: found[1:] for name, found in turns.items()}  # the first turn warms up
    first = kept[next(iter(kept))]
    ratios = {name: median(a / b for a, b in zip(first, found, strict=True)) for name, found in kept.items()}
    return {name: Timed(median(found), ratios[name]) for name, found in kept.items()}
