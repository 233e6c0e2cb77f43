"""The same windows by river, run by the Python of its own environment: `river_windows.py STREAM.npz SHAPE EVERY`.

Prints JSON: CPU seconds, and the last values of each entity, so that both sides can be seen to agree.
"""

import json
import sys
import time
from typing import Any

import numpy as np
from river import stats, utils

FIELDS, SIZE, WINDOW_NS = 4, 100, 1_000_000_000


def main() -> None:
    """Measure and print."""
    with np.load(sys.argv[1]) as arrays:
        events = list(zip(*(arrays[name].tolist() for name in ("entities", "times_ns", "values")), strict=True))
    every = int(sys.argv[3])
    started_s = time.process_time()
    windows, last = tumbling(events) if sys.argv[2] == "tumbling" else sliding(events, every)
    cpu_s = time.process_time() - started_s
    print(json.dumps({"cpu_s": cpu_s, "windows": windows, "last": last}))


def sliding(events: list[Any], every: int) -> tuple[int, dict[int, list[float]]]:
    """Windows of the last events, read after each `every` of them."""
    known: dict[int, Any] = {}
    counts: dict[int, int] = {}
    last: dict[int, list[float]] = {}
    windows = 0
    for entity, _, values in events:
        parts = known.get(entity)
        if parts is None:
            parts = known[entity] = [rolling() for _ in range(FIELDS)]
            counts[entity] = 0
        for part, value in zip(parts, values, strict=True):
            for one in part:
                one.update(value)
        counts[entity] += 1
        if counts[entity] >= SIZE and counts[entity] % every == 0:
            windows += 1
            last[entity] = [number for part, value in zip(parts, values, strict=True) for number in read(part, value)]
    return windows, last


def tumbling(events: list[Any]) -> tuple[int, dict[int, list[float]]]:
    """Windows of a second, aligned; each begins with new statistics."""
    known: dict[int, Any] = {}
    last: dict[int, list[float]] = {}
    windows = 0
    for entity, time_ns, values in events:
        window = time_ns // WINDOW_NS
        held = known.get(entity)
        if held is None or held[0] != window:
            if held is not None:
                windows += 1
                last[entity] = [
                    number for part, value in zip(held[1], held[2], strict=True) for number in read(part, value)
                ]
            held = known[entity] = [window, [plain() for _ in range(FIELDS)], values]
        for part, value in zip(held[1], values, strict=True):
            for one in part:
                one.update(value)
        held[2] = values
    return windows, last


def rolling() -> tuple[Any, ...]:
    """Mean, variance, least and greatest of the last events."""
    return (
        utils.Rolling(stats.Mean(), window_size=SIZE),
        utils.Rolling(stats.Var(ddof=0), window_size=SIZE),
        stats.RollingMin(SIZE),
        stats.RollingMax(SIZE),
    )


def plain() -> tuple[Any, ...]:
    """The same of all events since it was made."""
    return stats.Mean(), stats.Var(ddof=0), stats.Min(), stats.Max()


def read(part: tuple[Any, ...], value: float) -> list[float]:
    """Mean, standard deviation, least, greatest, last."""
    mean, variance, least, greatest = part
    return [mean.get(), max(variance.get(), 0.0) ** 0.5, least.get(), greatest.get(), value]


if __name__ == "__main__":
    main()
