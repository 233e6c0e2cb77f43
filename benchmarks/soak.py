"""Whether the agent's memory grows under load that does not end: ten minutes of as many requests as it takes.

The real `shoal-agent run` with one ONNX model; JSON and binary requests of changing batch sizes, good and bad ones, on
connections that stay for two hundred of them. Run as `python benchmarks/soak.py`; `--full` is the ten minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in ("contract", "numerics", "agent"))]

from serving_parts.client import resident_bytes  # noqa: E402 - after the path
from serving_parts.device import digits, prepare_device, running_agent  # noqa: E402 - after the path
from serving_parts.model import write_model  # noqa: E402 - after the path

CLIENT = Path(__file__).parent / "soak_parts" / "client.py"
FULL_S, SHORT_S, WARM_S = 600.0, 60.0, 30.0
MOST_GROWTH = 0.02
CLIENTS = 2


class Soaked(NamedTuple):
    """What came of it."""

    before_mb: float
    after_mb: float
    requests: int
    refused: int
    failed: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help=f"load it for {FULL_S:g} s")
    options = parser.parse_args()
    duration_s = FULL_S if options.full else SHORT_S
    with tempfile.TemporaryDirectory() as name:
        found = soak(Path(name), duration_s)
    growth = found.after_mb / found.before_mb - 1
    line = {
        "name": "soak_memory_growth",
        "unit": "share of the memory before",
        "ours": round(growth, 5),
        "peer": None,
        "peer_name": "none",
        "ratio": None,
        "n": found.requests,
        "goal": f"< {MOST_GROWTH:g} over {FULL_S:g} s of maximum load, none failed; run with --full",
        "holds": (growth < MOST_GROWTH and found.failed == 0) if options.full else None,
        "seconds": duration_s,
        "before_mb": round(found.before_mb, 2),
        "after_mb": round(found.after_mb, 2),
        "refused_as_they_should": found.refused,
        "failed": found.failed,
    }
    print(json.dumps(line), flush=True)


def soak(folder: Path, duration_s: float) -> Soaked:
    """Load an agent for a warm-up, and then for the time that counts."""
    write_model(folder / "digits.onnx")
    prepare_device(folder / "device", digits(folder / "digits.onnx"))
    with running_agent(folder / "device") as (process, port):
        load(port, WARM_S)
        before_mb = resident_bytes(process.pid) / 1e6
        counts = load(port, duration_s)
        time.sleep(1.0)
        return Soaked(before_mb, resident_bytes(process.pid) / 1e6, *counts)


def load(port: int, duration_s: float) -> tuple[int, int, int]:
    """Ask from processes of their own; return how many requests were answered, refused and failed."""
    command = [sys.executable, str(CLIENT), str(port), str(duration_s)]
    running = [subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, text=True) for seed in range(CLIENTS)]
    counts = [json.loads(client.communicate(timeout=duration_s + 60)[0]) for client in running]
    answered, refused, failed = (sum(one[key] for one in counts) for key in ("answered", "refused", "failed"))
    return answered, refused, failed


if __name__ == "__main__":
    main()
