"""Latency of single requests to several models, which take turns so that all share the machine's noise."""

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.energy import EnergyMeter
from shoal_compression.model import Model
from shoal_compression.running import Run, load
from shoal_numerics.tensors import Array

BLOCKS: Final = 5
REQUESTS_PER_BLOCK: Final = 100
WARM_UP_REQUESTS: Final = 10
MAX_SECONDS: Final = 3.0
"""For each model; a slow one gets fewer requests."""
_DIFFERENT_SAMPLES: Final = 64

Feeds = Sequence[Mapping[str, Array]]


class Timing(NamedTuple):
    """Of one request with one sample."""

    p50_ms: float
    """The median over blocks of the block's percentile."""
    p95_ms: float
    energy_mj: float | None
    """Of the processor, where a meter is read."""


def timings(models: Mapping[str, Model], samples: Samples, meter: EnergyMeter | None = None) -> dict[str, Timing]:
    """Time each model in one thread; request by request they take turns.

    Raises:
        TechniqueError: One does not load.
    """
    if not models:
        return {}
    feeds = list(samples.first(_DIFFERENT_SAMPLES).feeds(next(iter(models.values()))))
    runs = {name: load(model) for name, model in models.items()}
    requests = min(REQUESTS_PER_BLOCK, *(_affordable(run, feeds) for run in runs.values()))
    blocks = [_block(runs, feeds, requests) for _ in range(BLOCKS)]
    return {
        name: Timing(
            p50_ms=_median_percentile(blocks, name, 50),
            p95_ms=_median_percentile(blocks, name, 95),
            energy_mj=_energy(meter or EnergyMeter(), run, feeds, requests),
        )
        for name, run in runs.items()
    }


def _median_percentile(blocks: Sequence[Mapping[str, list[float]]], name: str, share: int) -> float:
    return median(float(np.percentile(block[name], share)) for block in blocks)


def _energy(meter: EnergyMeter, run: Run, feeds: Feeds, requests: int) -> float | None:
    def work() -> None:
        for index in range(requests):
            run(feeds[index % len(feeds)])

    return meter.millijoules(work, requests)


def _affordable(run: Run, feeds: Feeds) -> int:
    """Warm a model up, and return how many requests of a block fit the time."""
    began_s = time.perf_counter()
    done = 0
    while done < WARM_UP_REQUESTS and (done < 2 or time.perf_counter() - began_s < MAX_SECONDS):  # noqa: PLR2004
        run(feeds[done % len(feeds)])
        done += 1
    each_s = (time.perf_counter() - began_s) / done
    return max(3, int(MAX_SECONDS / BLOCKS / max(each_s, 1e-9)))


def _block(runs: Mapping[str, Run], feeds: Feeds, requests: int) -> dict[str, list[float]]:
    times_ms: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(requests):
        feed = feeds[index % len(feeds)]
        for name, run in runs.items():
            began_s = time.perf_counter()
            run(feed)
            times_ms[name].append((time.perf_counter() - began_s) * 1000)
    return times_ms
