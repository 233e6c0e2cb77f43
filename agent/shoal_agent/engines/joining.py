"""Which models answer several samples together: those that were measured to take less time for it.

Requests are joined along their first dimension. Source of the rule: the time of one run of `n` samples against `n` runs
of one, on this device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

import numpy as np

from shoal_agent.engines.engine import Engine
from shoal_agent.errors import AgentError
from shoal_numerics.tensors import Array

_TRIES: Final = 5
_SIZES: Final = (2, 4, 8)
_MOST_S: Final = 0.5
"""For all measurements of one model together."""


def can_join(engine: Engine) -> bool:
    """Whether all inputs and outputs are open in their first dimension, the samples."""
    return all(spec.shape and spec.shape[0] == -1 for spec in (*engine.inputs, *engine.outputs))


def best_together(
    engine: Engine,
    sample: Mapping[str, Array],
    worth: float = 0.8,
    clock_s: Callable[[], float] = time.perf_counter,
) -> int:
    """Return how many samples are best answered together; 1: each by itself.

    A size is worth it where it takes at most `worth` of the time of the size before it, a sample.

    Args:
        engine: A warmed-up model that `can_join`.
        sample: One sample for each input, first dimension 1.
        worth: The bound, 0 to 1.
        clock_s: Seconds that never go back.
    """
    started_s = clock_s()
    best, best_s = 1, _time(engine, sample, clock_s)
    for size in _SIZES:
        if clock_s() - started_s > _MOST_S:
            break
        try:
            each_s = _time(engine, join([sample] * size), clock_s) / size
        except AgentError:  # the file is less open than its manifest says
            break
        if each_s > worth * best_s:
            break
        best, best_s = size, each_s
    return best


def join(requests: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return the inputs of several requests as those of one; all but the first dimension are the same."""
    return {name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]}


def split(outputs: Mapping[str, Array], samples: Sequence[int]) -> list[dict[str, Array]] | None:
    """Return the outputs of each request; None where the model did not answer sample by sample.

    Args:
        outputs: Of all requests together.
        samples: How many samples each request has, in order.
    """
    if any(array.ndim == 0 or len(array) != sum(samples) for array in outputs.values()):
        return None
    ends = np.cumsum([0, *samples])
    return [{name: array[start:end] for name, array in outputs.items()} for start, end in pairwise(ends)]


def _time(engine: Engine, inputs: Mapping[str, Array], clock_s: Callable[[], float]) -> float:
    """Return the seconds of a run, as the median of a few."""
    times_s = []
    for _ in range(_TRIES):
        began_s = clock_s()
        engine.infer(inputs)
        times_s.append(clock_s() - began_s)
    return median(times_s)
