"""What requests notice of a hot swap: failures and the 99th percentile of latency, over 100 swaps under full load.

Ours is the device's own updater and endpoint: each swap fetches, verifies, loads, tests, writes its state and switches.
The peer is MLServer, whose repository API loads its model again. Run as `python benchmarks/hot_swap.py`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
PATHS = [str(ROOT), *(str(ROOT / folder) for folder in ("contract", "numerics", "agent"))]
sys.path[:0] = PATHS

from serving_parts.peer import NAMES, install_peer, running_peer  # noqa: E402 - after the path
from tests.fixtures import tiny  # noqa: E402 - after the path

PARTS = Path(__file__).parent / "hot_swap_parts"
SWAPS, REQUESTS = 100, 100_000
CLIENTS = 2
TIMES_P99 = 2.0
BEFORE_S = 5.0
PEER_SWAPS = 20


class Seen(NamedTuple):
    """What the clients saw."""

    requests: int
    failed: int
    p99_before_ms: float
    p99_during_ms: float
    swaps: int
    swap_s: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=SWAPS, help="swaps under load, of ours")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="requests over all swaps at least, of ours")
    options = parser.parse_args()
    environment = install_peer(ROOT / ".cache" / "bench" / "mlserver")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = measure_ours(folder, options.swaps, options.requests)
        peer = measure_peer(folder, environment)
    for line in lines_of(ours, peer, options):
        print(json.dumps(line), flush=True)


def lines_of(ours: Seen, peer: Seen, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Yield the figures' lines."""
    common = {"peer_name": f"{NAMES[0]}, its model loaded again {peer.swaps} times", "n": ours.requests}
    is_enough = ours.requests >= options.requests and ours.swaps >= options.swaps
    yield {
        "name": "hot_swap_failed",
        "unit": "requests",
        "ours": ours.failed,
        "peer": peer.failed,
        "ratio": None,
        "goal": f"0 of at least {REQUESTS} over {SWAPS} swaps",
        "holds": ours.failed == 0 and is_enough,
        "swaps": ours.swaps,
        "swap_median_s": round(ours.swap_s, 4),
        **common,
    }
    slower = ours.p99_during_ms / ours.p99_before_ms
    yield {
        "name": "hot_swap_p99",
        "unit": "ms",
        "ours": round(ours.p99_during_ms, 3),
        "peer": round(peer.p99_during_ms, 3),
        "ratio": round(slower, 2),
        "goal": f"during swaps at most {TIMES_P99:g} times before (the ratio)",
        "holds": slower <= TIMES_P99,
        "before": round(ours.p99_before_ms, 3),
        "peer_before": round(peer.p99_before_ms, 3),
        "peer_ratio": round(peer.p99_during_ms / peer.p99_before_ms, 2),
        **common,
    }


def measure_ours(folder: Path, swaps: int, requests: int) -> Seen:
    """Swap under load until there were enough swaps and requests."""
    command = [sys.executable, str(PARTS / "server.py")]
    environment = {"PYTHONPATH": ":".join(PATHS), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as server:
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("the server has no pipes")
        told, answers = server.stdin, server.stdout

        def swap() -> tuple[float, float]:
            told.write("swap\n")
            told.flush()
            began_s, ended_s = answers.readline().split()
            return float(began_s), float(ended_s)

        port = int(answers.readline())
        seen = observe(folder / "ours", port, "/v2/models/tiny/infer", (swap, swaps), requests)
        told.write("end\n")
        told.flush()
    return seen


def measure_peer(folder: Path, environment: Path) -> Seen:
    """Have MLServer load its model again, under load."""
    with running_peer(environment, folder / "peer", tiny.FILES / "classify.onnx", 0) as (_, port):

        def swap() -> tuple[float, float]:
            began_s = time.monotonic()
            url = f"http://127.0.0.1:{port}/v2/repository/models/digits/load"
            urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=30).close()
            return began_s, time.monotonic()

        return observe(folder / "peer-clients", port, "/v2/models/digits/infer", (swap, PEER_SWAPS), 0)


def observe(
    folder: Path, port: int, path: str, swaps: tuple[Callable[[], tuple[float, float]], int], requests: int
) -> Seen:
    """Load a server, swap, and return what the clients saw before and during the swaps."""
    swap, count = swaps
    folder.mkdir()
    times: list[tuple[float, float]] = []
    with clients(folder, port, path) as asked:
        began_s = time.monotonic()
        time.sleep(BEFORE_S)
        rate = requests / max(count, 1)
        for _ in range(count):
            times.append(swap())
            time.sleep(max(0.0, rate / 4000.0 - (times[-1][1] - times[-1][0])))  # until enough have been asked
    rows = np.array(asked)
    begun, ended, good = rows.T
    latency_ms = (ended - begun) * 1000
    during = np.zeros(len(rows), dtype=bool)
    for start_s, end_s in times:
        during |= (ended >= start_s) & (begun <= end_s)
    before = (begun > began_s + 1.0) & (ended < times[0][0])
    swapping = begun >= times[0][0]
    return Seen(
        int(swapping.sum()),
        int((good == 0).sum()),
        p99(latency_ms[before]),
        p99(latency_ms[during]),
        count,
        float(np.median([end - start for start, end in times])),
    )


@contextmanager
def clients(folder: Path, port: int, path: str) -> Iterator[list[list[float]]]:
    """Ask from processes of their own until the block ends; gives a list that then holds all requests."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}
    (folder / "body.json").write_text(json.dumps({"inputs": [tensor]}))
    command = [
        sys.executable,
        str(PARTS / "client.py"),
        str(port),
        path,
        str(folder / "body.json"),
        str(folder / "end"),
    ]
    asked: list[list[float]] = []
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(CLIENTS)]
    try:
        yield asked
    finally:
        (folder / "end").touch()
        for client in running:
            out, _ = client.communicate(timeout=60)
            asked += [[float(value) for value in line.split()] for line in out.splitlines()]


def p99(latency_ms: NDArray[np.float64]) -> float:
    """Return the 99th percentile."""
    return float(np.percentile(latency_ms, 99))


if __name__ == "__main__":
    main()
