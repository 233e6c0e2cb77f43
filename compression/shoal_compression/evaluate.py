"""Measures model files: held-out accuracy, and latency of single requests, interleaved so that all share the noise."""

import time
from collections.abc import Mapping
from statistics import median

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from shoal_compression.runners import Runner

BLOCKS = 5
REQUESTS_PER_BLOCK = 200
WARM_UP_REQUESTS = 20


class Latency(BaseModel):
    """Of one request with one sample, in ms: medians over blocks of the block's percentiles."""

    model_config = ConfigDict(frozen=True)

    p50: float = Field(ge=0)
    p95: float = Field(ge=0)


def accuracy(runner: Runner, x: npt.NDArray[np.float32], y: npt.NDArray[np.int32]) -> float:
    """Return the share (0..1) of samples whose most probable class is the label.

    Args:
        runner: Returns (n, classes) for (n, …).
        x: (n, …) float32.
        y: (n,) int32.
    """
    return float((runner(x).argmax(axis=1) == y).mean())


def latencies(
    runners: Mapping[str, Runner],
    x: npt.NDArray[np.float32],
    blocks: int = BLOCKS,
    requests_per_block: int = REQUESTS_PER_BLOCK,
) -> dict[str, Latency]:
    """Time each runner on single samples of `x`; request by request they take turns.

    Taking turns makes a slow moment of the machine hit all of them, and the median over blocks drops it.
    """
    for runner in runners.values():
        for index in range(WARM_UP_REQUESTS):
            runner(x[index % len(x)][None])
    percentiles: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
    for _ in range(blocks):
        for name, times_ms in _one_block(runners, x, requests_per_block).items():
            percentiles[name].append((float(np.percentile(times_ms, 50)), float(np.percentile(times_ms, 95))))
    return {
        name: Latency(p50=median(p50 for p50, _ in pairs), p95=median(p95 for _, p95 in pairs))
        for name, pairs in percentiles.items()
    }


def _one_block(runners: Mapping[str, Runner], x: npt.NDArray[np.float32], requests: int) -> dict[str, list[float]]:
    times_ms: dict[str, list[float]] = {name: [] for name in runners}
    for index in range(requests):
        sample = x[index % len(x)][None]
        for name, runner in runners.items():
            started = time.perf_counter()
            runner(sample)
            times_ms[name].append((time.perf_counter() - started) * 1000)
    return times_ms
