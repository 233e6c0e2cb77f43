"""What an answer from the cache costs where the model is in the caller's own process."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from numpy.typing import NDArray
from serving_parts.device import MODEL

from shoal_agent.client import Client

CACHE_HIT_US = 60.0
WARM_UP = 100


def cache_hit_lines(data: Path, x: NDArray[Any], rounds: int, requests: int) -> Iterator[dict[str, object]]:
    """Measure the CPU of kept answers: arrays in and out, and the friendly call with a list of features."""
    features = x.ravel().tolist()
    with Client.in_process(data, cache_mb=8) as client:
        calls: dict[str, Callable[[], object]] = {
            "serving_cache_hit_cpu_in_process": lambda: client.infer(MODEL, {"x": x}),
            "serving_cache_hit_cpu_in_process_predict": lambda: client.predict(features, model=MODEL),
        }
        for name, call in calls.items():
            used_us = median(_cpu_us(call, requests) for _ in range(rounds))
            yield {
                "name": name,
                "unit": "us",
                "ours": round(used_us, 1),
                "peer": None,
                "peer_name": None,
                "ratio": None,
                "n": rounds * requests,
                "goal": f"ours <= {CACHE_HIT_US:g} us",
                "holds": used_us <= CACHE_HIT_US,
            }


def _cpu_us(call: Callable[[], object], requests: int) -> float:
    """Return the CPU's microseconds a call."""
    for _ in range(WARM_UP):
        call()
    before_s = time.process_time()
    for _ in range(requests):
        call()
    return (time.process_time() - before_s) / requests * 1e6
