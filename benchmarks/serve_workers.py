"""Whether workers of `shoal serve` add up: requests a second with two of them, and with one.

The real `shoal serve` beside a real hub, with a model that keeps one core busy for some 15 ms, so that neither client
nor protocol counts. Servers run beside each other and are asked in turn.
Run it as `python benchmarks/serve_workers.py`.
"""

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub", "client"))]

from serving_parts.bare_runs import BareRuns, bare_runs  # noqa: E402 - after the path
from serving_parts.device import MODEL, TARGET, Served, manifest_of  # noqa: E402 - after the path
from serving_parts.peer import TWO_WORKERS, install_peer, running_peer  # noqa: E402 - after the path
from serving_parts.steady_model import WIDTH, write_steady_model  # noqa: E402 - after the path
from serving_parts.together import ask_together  # noqa: E402 - after the path
from tests.simulators.hub_process import HubProcess  # noqa: E402 - after the path
from tests.simulators.serve_process import ServeProcess, put_version  # noqa: E402 - after the path

from shoal_contract.manifest import TensorSpec  # noqa: E402 - after the path

INPUTS = (TensorSpec(name="x", datatype="FP32", shape=(1, WIDTH)),)
OUTPUTS = (TensorSpec(name="probabilities", datatype="FP32", shape=(1, 10)),)
PATH = f"/v2/models/{MODEL}/infer"
FILE = "steady.onnx"
LEAST_RATIO = 1.6
TWO, ONE, THREADS = "two workers", "one worker", "one worker of two threads"
FORMS = {TWO: ("--workers=2", "--threads=1"), ONE: ("--workers=1", "--threads=1"), THREADS: ("--threads=2",)}
BARE_ONE, BARE_TWO = "the bare runtime", "two of it"
Rates = dict[str, list[float]]
"""What each did a second, by round."""


def main() -> None:
    """Measure, and print JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="turns of each server")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a turn")
    parser.add_argument("--connections", type=int, default=8, help="that ask at the same time")
    parser.add_argument("--steps", type=int, default=8000, help="of the model, some 2 us each")
    parser.add_argument("--no-peer", action="store_true", help="leave MLServer out, which the first run installs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-workers-") as folder, ExitStack() as stack:
        write_steady_model(Path(folder) / FILE, options.steps)
        bare = stack.enter_context(bare_runs(Path(folder) / FILE, 2))
        rates, answers = in_turn(start_all(stack, Path(folder), options), bare, options)
    is_same = len(answers) == 1
    machine = round(ratio_of(rates[BARE_TWO], rates[BARE_ONE]), 2)
    tell("serve_workers_2", rates, (TWO, ONE), LEAST_RATIO, {"is_same": is_same, "bare_runtime_ratio": machine})
    tell("serve_threads_2", rates, (THREADS, ONE), None, {"is_same": is_same})
    if TWO_WORKERS in rates:
        tell("serve_workers_2_of_another", rates, (TWO, TWO_WORKERS), None, {"is_same": is_same})


def start_all(stack: ExitStack, folder: Path, options: argparse.Namespace) -> dict[str, int]:
    """Start hub and servers, which run until the stack ends; return the servers' ports."""
    path = folder / FILE
    hub = HubProcess(folder / "hub").start()
    stack.callback(hub.close)
    manifest = manifest_of(Served(MODEL, path, INPUTS, OUTPUTS, features=WIDTH), path.read_bytes())
    put_version(hub, manifest, {TARGET: path.read_bytes()})
    ports = {}
    for number, (form, given) in enumerate(FORMS.items()):
        server = ServeProcess(hub, folder / f"served{number}", f"--model={MODEL}@1", *given).start()
        stack.callback(server.close)
        ports[form] = int(server.url.rpartition(":")[2])
    if not options.no_peer:
        environment = install_peer(ROOT / ".cache" / "bench" / "mlserver")
        ports[TWO_WORKERS] = stack.enter_context(running_peer(environment, folder / "peer", path, 2))[1]
    return ports


def in_turn(ports: dict[str, int], bare: BareRuns, options: argparse.Namespace) -> tuple[Rates, frozenset[str]]:
    """Ask servers and run the bare runtime in turn, so that a busy moment of the machine meets them all.

    Returns:
        What each did a second in each round, the first one left out, and the different answers of ours.
    """
    x = np.random.default_rng(0).random((1, WIDTH), dtype=np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    rates: Rates = {who: [] for who in (*ports, BARE_ONE, BARE_TWO)}
    answers: frozenset[str] = frozenset()
    for _ in range(options.rounds + 1):
        for who, port in ports.items():
            asked = ask_together(port, PATH, body, options.connections, options.seconds)
            rates[who].append(asked.requests_per_s)
            answers |= asked.answers if who in FORMS else frozenset()
        for count, who in enumerate((BARE_ONE, BARE_TWO), start=1):
            rates[who].append(bare.per_s(count, options.seconds))
    return {who: found[1:] for who, found in rates.items()}, answers


def ratio_of(ours: list[float], peer: list[float]) -> float:
    """Return how many times the peer's rate ours is, as the median of rounds."""
    return median(one / other for one, other in zip(ours, peer, strict=True))


def tell(
    name: str, rates: Rates, pair: tuple[str, str], least_ratio: float | None, more: dict[str, float | bool]
) -> None:
    """Print a figure's line."""
    ours, peer = (rates[who] for who in pair)
    ratio = ratio_of(ours, peer)
    line = {
        "name": name,
        "unit": "1/s",
        "ours": round(median(ours), 1),
        "peer": round(median(peer), 1),
        "peer_name": pair[1],
        "ratio": round(ratio, 2),
        "n": len(ours),
        "goal": None if least_ratio is None else f"ratio >= {least_ratio:g}, and the same answers by all workers",
        "holds": None if least_ratio is None else bool(more["is_same"]) and ratio >= least_ratio,
        "cores": os.cpu_count(),
    }
    print(json.dumps(line | more), flush=True)


if __name__ == "__main__":
    main()
