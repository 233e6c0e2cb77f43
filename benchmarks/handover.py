"""One of three devices of a site is asked for twice what it can answer: how long requests take.

Each device is a process with the agent's endpoint and its part in handing over, by real mutual TLS. Its model is a real
one behind a delay of 50 ms, as on an accelerator, so that what is measured is queues and not the cores of this machine.
Requests come as they come, whatever became of those before, and their time counts from when each was due.

Run it as `python benchmarks/handover.py`.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub"))]

from tests.simulators.slow_endpoint_process import load, make_neighbours, running_endpoints  # noqa: E402 - see above

LOAD = 2.0
MOST_RATIO = 2.0


def main() -> None:
    """Measure, and print JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each figure")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one measurement")
    options = parser.parse_args()
    unloaded, alone, together, passed = [], [], [], []
    for _ in range(options.rounds):
        with (
            tempfile.TemporaryDirectory(prefix="shoal-handover-") as folder,
            running_endpoints(Path(folder), 3) as found,
        ):
            unloaded.append(load(found[0], 0.3, options.seconds).p99_s)
            alone.append(load(found[0], LOAD, options.seconds / 2).p99_s)
            make_neighbours(found)
            load(found[0], LOAD, 1.0)  # connections are made
            outcome = load(found[0], LOAD, options.seconds)
            together.append(outcome.p99_s)
            passed.append(sum(one != "here" for one in outcome.by) / len(outcome.by))
    share = {"passed_share": round(statistics.median(passed), 2)}
    is_within = statistics.median(together) <= MOST_RATIO * statistics.median(unloaded)
    goal = {"goal": f"at most {MOST_RATIO:g} times the peer", "holds": is_within}
    _tell("handover_p99", together, unloaded, "the same device without load", share | goal)
    _tell("handover_p99_saturated", together, alone, "the same device, saturated alone", {"goal": None, "holds": None})


def _tell(name: str, ours: list[float], peer: list[float], peer_name: str, more: dict[str, object]) -> None:
    ours_s, peer_s = statistics.median(ours), statistics.median(peer)
    line = {
        "name": name,
        "unit": "ms",
        "ours": round(ours_s * 1000, 1),
        "peer": round(peer_s * 1000, 1),
        "peer_name": peer_name,
        "ratio": round(peer_s / ours_s, 2),
        "n": len(ours),
    }
    print(json.dumps(line | more), flush=True)


if __name__ == "__main__":
    main()
