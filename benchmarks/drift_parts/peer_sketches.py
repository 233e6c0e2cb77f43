"""River's histogram and datasketches' KLL on the same values, by the Python of their own environment.

Run as `peer_sketches.py DATA.npz`, whose arrays are (n, features) float32. Prints JSON: CPU nanoseconds a value when
batched by array, CPU microseconds a request of the first rows of `single`, and bytes of a feature's sketch.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np
from datasketches import kll_floats_sketch, vector_of_kll_floats_sketches
from numpy.typing import NDArray
from river.sketch import Histogram

K, BINS, TURNS = 200, 100, 3
KLL_REQUESTS, RIVER_REQUESTS = 1000, 100


def main() -> None:
    """Measure and print."""
    with np.load(sys.argv[1]) as arrays:
        data = {name: arrays[name] for name in arrays.files}
    single = data.pop("single")
    found = {
        "kll_single_us": 1e6 * cpu_s(kll_single, single[:KLL_REQUESTS]) / KLL_REQUESTS,
        "river_single_us": 1e6 * cpu_s(river_single, single[:RIVER_REQUESTS]) / RIVER_REQUESTS,
        "kll_bytes": kll_bytes(data["one_feature"]),
    }
    for name, rows in data.items():
        found[f"kll_batched_{name}_ns"] = 1e9 * cpu_s(batch, rows) / rows.size
    print(json.dumps(found))


def cpu_s(work: Callable[[NDArray[np.float32]], None], rows: NDArray[np.float32]) -> float:
    """Return the CPU seconds of one turn; the quickest of three, as this side has no turns with ours."""
    took_s = []
    for _ in range(TURNS):
        started_s = time.process_time()
        work(rows)
        took_s.append(time.process_time() - started_s)
    return min(took_s)


def batch(rows: NDArray[np.float32]) -> None:
    """Update one sketch a feature by all rows at once."""
    if rows.shape[1] == 1:
        kll_floats_sketch(K).update(np.ascontiguousarray(rows[:, 0]))
    else:
        vector_of_kll_floats_sketches(K, rows.shape[1]).update(rows)


def kll_single(rows: NDArray[np.float32]) -> None:
    """Update one sketch a feature, row by row."""
    sketches = vector_of_kll_floats_sketches(K, rows.shape[1])
    for row in rows:
        sketches.update(row)


def river_single(rows: NDArray[np.float32]) -> None:
    """Update one histogram a feature, value by value, as it has no other way."""
    histograms = [Histogram(max_bins=BINS) for _ in range(rows.shape[1])]
    for row in rows.tolist():
        for histogram, value in zip(histograms, row, strict=True):
            histogram.update(value)


def kll_bytes(rows: NDArray[np.float32]) -> int:
    """Return the bytes of one sketch of the first feature."""
    sketch = kll_floats_sketch(K)
    sketch.update(np.ascontiguousarray(rows[:, 0]))
    return len(sketch.serialize())


if __name__ == "__main__":
    main()
