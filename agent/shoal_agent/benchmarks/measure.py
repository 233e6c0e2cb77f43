"""Measures one candidate: its answers to all samples, its memory, and the time of a run while nothing else is asked.

Runs that fall into a time in which the agent had requests to answer are thrown away and repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_agent.benchmarks.answers import MAX_KEPT_BYTES, Answers, row_of
from shoal_agent.benchmarks.errors import BenchmarkError
from shoal_agent.benchmarks.samples import BenchmarkSamples, is_batched
from shoal_contract.benchmarks import MAX_MILLISECONDS, DesiredBenchmark, LatencySpread
from shoal_numerics.class_choice import chosen_classes, score_cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shoal_agent.batch.pace import Pace
    from shoal_agent.engines import Engine
    from shoal_numerics.tensors import Array

BATCH: Final = 32
"""Samples in a request where only the answers count."""
BLOCK_S: Final = 0.5
"""Of runs that are kept or thrown away together."""
ROTATED: Final = 16
"""Samples that take turns in the timed runs."""
ANSWERS_SHARE: Final = 0.5
"""Of the time, that the answers to all samples may take."""


@dataclass
class Stopwatch:
    """How long a candidate has been at work, rests aside.

    Attributes:
        pace: Lets it work, or rest.
        max_s: It may work for so long.
        clock_s: Seconds that never go back.
    """

    pace: Pace
    max_s: float
    clock_s: Callable[[], float] = time.perf_counter
    _began_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._began_s = self.clock_s()

    @property
    def worked_s(self) -> float:
        """Return the seconds at work."""
        return self.clock_s() - self._began_s - self.pace.rested_s


def answers_of(
    engine: Engine, wanted: DesiredBenchmark, samples: BenchmarkSamples, watch: Stopwatch, cut: float | None = None
) -> Answers:
    """Return the answers to the samples: to fewer than all where time runs short.

    Args:
        engine: The candidate's.
        wanted: The benchmark.
        samples: What it is asked.
        watch: How long it may take.
        cut: Of single scores, as the first candidate's answers say it; None: these do.

    Raises:
        EngineError: The runtime failed on a sample.
        BenchmarkError: An answer is not finite.
    """
    name, batched = wanted.outputs[0].name, is_batched(wanted.inputs)
    step = BATCH if batched else 1
    parts: list[Array] = []
    kept: list[Array] = []
    room_bytes = MAX_KEPT_BYTES
    for start in range(0, len(samples), step):
        if parts and watch.worked_s > ANSWERS_SHARE * watch.max_s:
            break
        watch.pace.rest(_tell_nobody)
        answer = engine.infer(samples.request(start, step, is_batched=batched))
        parts.append(answer[name] if batched else answer[name][np.newaxis])
        rows = row_of(answer, is_batched=batched)
        if room_bytes:
            kept.append(rows[: room_bytes // max(1, rows[:1].nbytes)])
            room_bytes = room_bytes - rows.nbytes if len(kept[-1]) == len(rows) else 0  # the first ones, without a gap
    outputs = np.concatenate(parts)
    _check_finite(outputs)
    cut = score_cut(outputs) if cut is None else cut
    classes = chosen_classes(outputs, cut)
    right = None if samples.labels is None else classes == samples.labels[: len(classes)]
    return Answers(classes, right, np.concatenate(kept), cut)


def _check_finite(outputs: Array) -> None:
    if outputs.dtype.kind == "f" and not np.isfinite(outputs).all():
        rows = np.flatnonzero(~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1))
        raise BenchmarkError(
            f"running the samples: the answer to {len(rows)} of {len(outputs)} has NaN or infinity, first {rows[0]}",
            "the file overflows on this device: quantize with reduced range, or keep it in float",
        )


def time_runs(
    engine: Engine, wanted: DesiredBenchmark, samples: BenchmarkSamples, watch: Stopwatch
) -> tuple[LatencySpread, int]:
    """Return the spread of the time of a run of one sample, and how many runs were thrown away.

    Raises:
        EngineError: The runtime failed.
        BenchmarkError: The device was never idle for long enough.
    """
    batched, pace = is_batched(wanted.inputs), watch.pace
    requests = [samples.request(place, 1, is_batched=batched) for place in range(min(ROTATED, len(samples)))]
    kept_s: list[float] = []
    disturbed = 0
    while len(kept_s) < wanted.runs and (watch.worked_s < watch.max_s or not kept_s):
        if watch.worked_s > 2 * watch.max_s:
            break
        pace.rest(_tell_nobody)
        for number in range(wanted.warm_up_runs):
            engine.infer(requests[number % len(requests)])
        block_s = _block(engine, requests, wanted.runs - len(kept_s), watch.clock_s)
        if pace.load is not None and (pace.load.share() or 0.0) > pace.max_load:
            disturbed += len(block_s)
        else:
            kept_s += block_s
    if not kept_s:
        raise BenchmarkError(
            f"timing {wanted.runs} runs: the agent answered requests in all of {watch.worked_s:.0f} s, so that none of "
            f"{disturbed} counts",
            "measure at a quieter time, or on another device of the class",
        )
    quartiles = np.minimum(np.percentile(np.asarray(kept_s) * 1000, (25, 50, 75, 95)), MAX_MILLISECONDS)
    p25, p50, p75, p95 = map(float, quartiles)
    return LatencySpread(p25=p25, p50=p50, p75=p75, p95=p95, runs=len(kept_s)), disturbed


def _block(
    engine: Engine, requests: list[dict[str, NDArray[np.generic]]], most: int, clock_s: Callable[[], float]
) -> list[float]:
    """Return the seconds of each run of a block."""
    times_s: list[float] = []
    while len(times_s) < most and sum(times_s) < BLOCK_S:
        request = requests[len(times_s) % len(requests)]
        began_s = clock_s()
        engine.infer(request)
        times_s.append(clock_s() - began_s)
    return times_s


def _tell_nobody(_reason: str) -> None:
    """Rest without a word: the daemon's deadline bounds it."""
