"""What watching costs a device: CPU a value and a request, memory a feature, bytes a window; bins exact.

Run as `python benchmarks/drift_cost.py`; prints one JSON line a figure. CPU time of one process, one thread; ours and
numpy take turns. The peers with an environment of their own are datasketches' KLL and river's histogram.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in ("contract", "numerics", "agent"))]

from drift_parts.watched import BINS, Device  # noqa: E402 - after the path
from serving_parts.peer import install_peer  # noqa: E402 - after the path

from shoal_agent.monitor import LabelSettings  # noqa: E402 - after the path
from shoal_agent.monitor.budget import SketchBudget  # noqa: E402 - after the path
from shoal_agent.monitor.feature_sketch import FeatureSketch  # noqa: E402 - after the path
from shoal_agent.settings import MonitorSettings  # noqa: E402 - after the path
from shoal_numerics import HistogramEdges, WindowCounts  # noqa: E402 - after the path
from shoal_numerics.compressed import compress  # noqa: E402 - after the path

Floats = NDArray[np.float32]
PINS = ("datasketches==5.2.0", "river==0.26.1")
NUMPY, KLL, RIVER = "numpy searchsorted and bincount", "datasketches 5.2.0 KLL, k = 200", "river 0.26.1 Histogram"
REFERENCE_ROWS, BATCHES = 20_000, 10
SHAPES = {"30_features": (1000, 30), "one_feature": (100_000, 1)}
SINGLE = (960, 64)
GOAL_BATCHED_NS, GOAL_SINGLE_US, GOAL_BYTES, GOAL_REPORT_BYTES = 15, 3, 600, 2048


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of ours and of numpy")
    rounds = parser.parse_args().rounds
    data = {name: normal(shape, 1) for name, shape in SHAPES.items()} | {"single": normal(SINGLE, 2)}
    peer = run_peers(data)
    for name in SHAPES:
        batched(name, data[name], peer[f"kll_batched_{name}_ns"], rounds)
    for name, (reference, rows) in awkward(1000, 30).items():
        batched(name, rows, None, rounds, reference)
    single(data["single"], peer, rounds)
    memory(peer["kll_bytes"])
    report()


def normal(shape: tuple[int, int], seed: int) -> Floats:
    """Return values whose reference is `normal((REFERENCE_ROWS, features), 0)`."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def awkward(rows: int, features: int) -> dict[str, tuple[Floats, Floats]]:
    """Return reference and values of data that cells of equal width do not suit, by name."""

    def both(shape: Callable[[Floats], NDArray[np.float64]]) -> tuple[Floats, Floats]:
        reference, values = (shape(normal((n, features), n)).astype(np.float32) for n in (REFERENCE_ROWS, rows))
        return reference, values

    return {
        "far_from_zero": both(lambda x: 1e6 + x.astype(np.float64)),
        "many_orders": both(lambda x: np.exp(8 * x.astype(np.float64))),
        "mostly_zero": both(lambda x: np.where(x > 1, x, 0).astype(np.float64)),
        "two_narrow_peaks": both(lambda x: np.where(x > 0, 1000, 0) + 1e-3 * x.astype(np.float64)),
    }


def batched(name: str, rows: Floats, kll_ns: float | None, rounds: int, reference: Floats | None = None) -> None:
    """Print nanoseconds a value, and whether each bin holds what a binary search puts there."""
    is_usual = reference is None
    known = normal((REFERENCE_ROWS, rows.shape[1]), 0) if reference is None else reference
    edges = HistogramEdges.equal_mass(known, BINS)
    counts = WindowCounts(edges)
    counts.add(rows)
    wrong = int(np.count_nonzero(counts.histogram().counts != np.concatenate(searched(edges, rows))))
    turns = [
        (cpu_ns(lambda: counts.add(rows), rows.size), cpu_ns(lambda: searched(edges, rows), rows.size))
        for _ in range(rounds)
    ]
    ours, numpy = (median(side) for side in zip(*turns, strict=True))
    goal = f"ours <= {GOAL_BATCHED_NS} ns of CPU a value" if is_usual else None
    is_held = ours <= GOAL_BATCHED_NS if is_usual else None
    say(f"drift_batched_{name}", "ns/value", ours, numpy, NUMPY, rounds, goal, is_held)
    if kll_ns is not None:
        say(f"drift_batched_{name}", "ns/value", ours, kll_ns, KLL, rounds, goal, is_held)
    say(f"drift_wrong_bins_{name}", "bins", wrong, 0, NUMPY, rows.size, "none differs", wrong == 0)


def searched(edges: HistogramEdges, rows: Floats) -> list[NDArray[np.int64]]:
    """Count by binary search, feature by feature."""
    parts = [(edges.of_feature(feature), rows[:, feature]) for feature in range(edges.feature_count)]
    return [np.bincount(own.searchsorted(column), minlength=len(own) + 1) for own, column in parts]


def cpu_ns(work: Callable[[], object], count: int) -> float:
    """Return CPU nanoseconds by the count of what is worked on; a turn is some batches in a row."""
    started_s = time.process_time()
    for _ in range(BATCHES):
        work()
    return 1e9 * (time.process_time() - started_s) / count / BATCHES


def single(rows: Floats, peer: dict[str, float], rounds: int) -> None:
    """Print microseconds that the monitor takes of each request of one sample, all that it does included."""
    goal = f"ours <= {GOAL_SINGLE_US} us of CPU a request of 64 floats"
    for answers, name in (
        (0, "drift_single_request"),
        (LabelSettings().max_answers, "drift_single_request_and_labels"),
    ):
        device = Device(rows, normal((REFERENCE_ROWS, rows.shape[1]), 0), answers)
        for _ in range(BATCHES):
            device.request_us()
        ours = median(device.request_us() for _ in range(BATCHES * rounds))
        if answers:
            say(name, "us/request", ours, None, None, BATCHES * rounds, None, None)
            continue
        is_held = ours <= GOAL_SINGLE_US
        say(name, "us/request", ours, peer["kll_single_us"], KLL, BATCHES * rounds, goal, is_held)
        say(name, "us/request", ours, peer["river_single_us"], RIVER, BATCHES * rounds, goal, is_held)


def memory(kll_bytes: float) -> None:
    """Print bytes a feature of a window's sketch, its waiting rows included, and of the table that windows share."""
    edges = HistogramEdges.equal_mass(normal((REFERENCE_ROWS, 30), 0), BINS)
    ours = FeatureSketch(edges, SketchBudget(MonitorSettings(), 0.0)).nbytes / edges.feature_count
    goal = f"ours <= {GOAL_BYTES} bytes a feature"
    say("drift_sketch_memory", "bytes/feature", ours, kll_bytes, KLL, 1, goal, ours <= GOAL_BYTES)
    say("drift_shared_table", "bytes/feature", edges.table_bytes / edges.feature_count, None, None, 1, None, None)


def report() -> None:
    """Print the bytes of a window of 1,000 values of 30 features: its message compressed, and as it is sent alone."""
    rows = normal(SHAPES["30_features"], 1)
    device = Device(rows, normal((REFERENCE_ROWS, rows.shape[1]), 0), 0)
    device.request_us()
    message, sent, took_us = device.report()
    ours = len(compress(message))
    goal = f"ours <= {GOAL_REPORT_BYTES} bytes compressed"
    say("drift_report", "bytes", ours, 8 * rows.size, "the values as float64", 1, goal, ours <= GOAL_REPORT_BYTES)
    goal = f"ours <= {GOAL_REPORT_BYTES} bytes, signature included"
    say(
        "drift_report_as_sent",
        "bytes",
        len(sent),
        8 * rows.size,
        "the values as float64",
        1,
        goal,
        len(sent) <= GOAL_REPORT_BYTES,
    )
    say("drift_window_end", "us/window", took_us, None, None, 1, None, None)


def run_peers(data: dict[str, Floats]) -> dict[str, float]:
    """Run the peers over the values."""
    python = install_peer(ROOT / ".cache" / "bench" / "sketches", PINS) / "bin" / "python"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, **data)  # type: ignore[arg-type]
        script = Path(__file__).parent / "drift_parts" / "peer_sketches.py"
        said = subprocess.run([python, script, path], check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(said)
    return found


def say(
    name: str,
    unit: str,
    ours: float,
    peer: float | None,
    peer_name: str | None,
    count: int,
    goal: str | None,
    is_held: bool | None,
) -> None:
    """Print a figure's line."""
    ratio = round(peer / ours, 2) if peer and ours else None
    line = {"name": name, "unit": unit, "ours": round(ours, 2), "peer": None if peer is None else round(peer, 2)}
    line |= {"peer_name": peer_name, "ratio": ratio, "n": count, "goal": goal, "holds": is_held}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
