"""What 10,000 connections that only take time do to who asks properly: the p99 of one keep-alive connection.

The real `shoal-agent run` with one ONNX model; before, and while clients come that are silent, stop midway, trickle or
lie, a thousand or so a second and up to 2,000 of them at a time. Run as `python benchmarks/crowd.py`.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in ("contract", "numerics", "agent"))]

from serving_parts.client import Connection, resident_bytes  # noqa: E402 - after the path
from serving_parts.device import digits, prepare_device, running_agent  # noqa: E402 - after the path
from serving_parts.model import write_model  # noqa: E402 - after the path

CONNECTIONS, ROUNDS, CALM_REQUESTS = 10_000, 3, 5000
MOST_TIMES_P99, MOST_GROWTH = 2.0, 0.1
PATH = "/v2/models/digits/infer"
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.5] * 64}]}).encode()


class Round(NamedTuple):
    """One crowd."""

    before_ms: float
    during_ms: float
    asked: int
    outcomes: dict[str, int]


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "digits.onnx")
        prepare_device(folder / "device", digits(folder / "digits.onnx"))
        with running_agent(folder / "device") as (process, port):
            measure(port)  # warms up, and has the bounds reached once
            before_bytes = resident_bytes(process.pid)
            rounds = [measure(port) for _ in range(ROUNDS)]
            growth = resident_bytes(process.pid) / before_bytes - 1
    before_ms = statistics.median(one.before_ms for one in rounds)
    during_ms = statistics.median(one.during_ms for one in rounds)
    common = {"peer_name": "the same agent without the crowd", "n": sum(one.asked for one in rounds)}
    latency = {
        "name": "crowd_p99",
        "unit": "ms",
        "ours": round(during_ms, 3),
        "peer": round(before_ms, 3),
        "ratio": round(during_ms / before_ms, 2),
        "goal": f"p99 at most {MOST_TIMES_P99:g} times that without the crowd",
        "holds": during_ms <= MOST_TIMES_P99 * before_ms,
        "outcomes": rounds[0].outcomes,
    }
    memory = {
        "name": "crowd_memory_growth",
        "unit": "share of the memory before",
        "ours": round(growth, 4),
        "peer": None,
        "ratio": None,
        "goal": f"< {MOST_GROWTH:g} over {ROUNDS} crowds",
        "holds": growth < MOST_GROWTH,
    }
    for line in (latency, memory):
        print(json.dumps(line | common), flush=True)


def measure(port: int) -> Round:
    """Ask alone, and then amid a crowd."""
    connection = Connection(port, PATH, BODY)
    before = connection.times_ms(CALM_REQUESTS)
    command = [sys.executable, "-m", "tests.simulators.bad_clients", str(port), str(CONNECTIONS)]
    during: list[float] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as crowd:
        while crowd.poll() is None:
            during += connection.times_ms(50)
        outcomes = json.loads(crowd.stdout.read()) if crowd.stdout else {}
    connection.close()
    return Round(_p99(before), _p99(during), len(during), outcomes)


def _p99(times_ms: list[float]) -> float:
    return statistics.quantiles(times_ms, n=100)[98]


if __name__ == "__main__":
    main()
