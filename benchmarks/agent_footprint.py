"""What the agent takes when nothing is asked of it, and how soon it answers: memory, idle CPU, start, cached answers.

The real `shoal-agent run`, enrolled at a real hub; the peer is MLServer without a model, as installed.
Run as `python benchmarks/agent_footprint.py`.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("contract", "numerics", "agent", "hub", "client"))]

from serving_parts.client import resident_bytes  # noqa: E402 - after the path
from serving_parts.cpu import cpu_s  # noqa: E402 - after the path
from serving_parts.device import MODEL, START_TIMEOUT_S, digits, prepare_device, running_agent  # noqa: E402 - after the path
from serving_parts.installed import install_agent  # noqa: E402 - after the path
from serving_parts.model import write_model  # noqa: E402 - after the path
from serving_parts.peer import install_peer, running_peer  # noqa: E402 - after the path
from tests.agent.serving.conftest import served_tiny  # noqa: E402 - after the path
from tests.simulators.agent_process import AgentProcess  # noqa: E402 - after the path
from tests.simulators.hub_process import HubProcess  # noqa: E402 - after the path

from shoal_agent.enrol import enrol  # noqa: E402 - after the path
from shoal_agent.serving.cache import PredictionCache  # noqa: E402 - after the path

MEMORY_MB, IDLE_SHARE, START_S, HIT_US = 60.0, 0.005, 2.5, 60.0
PEER = "MLServer 1.7.1 as installed (one worker process)"
SETTLE_S = 10.0
LOOKS = 20_000


class Idle(NamedTuple):
    """What a server takes while nothing is asked of it."""

    memory_mb: float
    cpu_share: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle-s", type=float, default=60.0, help="how long the idle CPU is measured")
    parser.add_argument("--starts", type=int, default=5, help="starts behind the median")
    options = parser.parse_args()
    environment = install_peer(ROOT / ".cache" / "bench" / "mlserver")
    with tempfile.TemporaryDirectory() as name:
        for line in measure(Path(name), environment, options):
            print(json.dumps(line), flush=True)


def measure(folder: Path, environment: Path, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Yield the figures' lines."""
    write_model(folder / "digits.onnx")
    python = install_agent(ROOT / ".cache" / "bench" / "agent")
    ours = idle_agent(folder / "idle", python, options.idle_s)
    with running_peer(environment, folder / "peer", folder / "digits.onnx", 1) as (process, _):
        peer = idle(process.pid, options.idle_s)
    yield line("agent_memory_without_model", "MB", (ours.memory_mb, peer.memory_mb), MEMORY_MB, 1)
    yield line("agent_idle_cpu", "share of a core", (ours.cpu_share, peer.cpu_share), IDLE_SHARE, 1)
    starts = [first_prediction_s(folder / f"start{n}", folder / "digits.onnx", python) for n in range(options.starts)]
    peers = [peer_start_s(environment, folder / f"peer{n}", folder / "digits.onnx") for n in range(options.starts)]
    yield line("agent_start_to_first_prediction", "s", (median(starts), median(peers)), START_S, options.starts)
    yield line("agent_cache_hit", "us", (cache_hit_us(), None), HIT_US, LOOKS)


def line(name: str, unit: str, found: tuple[float, float | None], most: float, n: int) -> dict[str, object]:
    """Return a figure's line; `found` are ours and the peer's."""
    ours, peer = found
    return {
        "name": name,
        "unit": unit,
        "ours": round(ours, 5),
        "peer": None if peer is None else round(peer, 5),
        "peer_name": "none" if peer is None else PEER,
        "ratio": None if peer is None else round(peer / ours, 2),
        "n": n,
        "goal": f"ours <= {most:g} {unit}",
        "holds": ours <= most,
    }


def idle_agent(folder: Path, python: Path, duration_s: float) -> Idle:
    """Measure an agent without a model, linked to a hub."""
    hub, agent = HubProcess(folder), AgentProcess(folder / "device", python=str(python))
    agent.environment["PYTHONPATH"] = ""
    try:
        hub.start()
        with hub.client() as client:
            enrol(agent.data / "identity", hub.url, client.tokens.create().token, "idle")
            agent.start()
            while not any(device.presence == "online" for device in client.devices.list()):
                time.sleep(0.2)
        if agent.process is None:
            raise RuntimeError("the agent does not run")
        return idle(agent.process.pid, duration_s)
    finally:
        agent.close()
        hub.close()


def idle(pid: int, duration_s: float) -> Idle:
    """Measure a process and its children over a time."""
    time.sleep(SETTLE_S)
    before_s, began_s = cpu_s(pid), time.monotonic()
    time.sleep(duration_s)
    share = (cpu_s(pid) - before_s) / (time.monotonic() - began_s)
    return Idle(resident_bytes(pid) / 1e6, share)


def first_prediction_s(folder: Path, model_path: Path, python: Path) -> float:
    """Return how long it takes from the start of the agent's process to its first prediction."""
    prepare_device(folder, digits(model_path))
    began_s = time.monotonic()
    with running_agent(folder, python=python) as (_, port):
        until_answered(port)
        return time.monotonic() - began_s


def peer_start_s(environment: Path, folder: Path, model_path: Path) -> float:
    """Return the same of the peer."""
    began_s = time.monotonic()
    with running_peer(environment, folder, model_path, 1) as (_, port):
        until_answered(port)
        return time.monotonic() - began_s


def until_answered(port: int) -> None:
    """Ask until there is a prediction."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.5] * 64}
    body, headers = json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/{MODEL}/infer", body, headers)
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(request, timeout=5).close()  # noqa: S310 - to loopback
        except OSError:  # also what urllib makes of an error's status
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)
        else:
            return


def cache_hit_us() -> float:
    """Return the CPU's microseconds of one hit: the key of 64 floats, and the look-up."""
    cache, served = PredictionCache(2**20), served_tiny()
    inputs = {"x": np.random.default_rng(0).random((1, 64), dtype=np.float32)}
    cache.put(cache.key(served, inputs), {"y": np.zeros((1, 10), dtype=np.float32)})
    before_s = time.process_time()
    for _ in range(LOOKS):
        if cache.get(cache.key(served, inputs), served) is None:
            raise RuntimeError("a kept answer is not found")
    return (time.process_time() - before_s) / LOOKS * 1e6


if __name__ == "__main__":
    main()
