"""What local serving costs: latency and CPU added over the bare runtime call, requests a second, and memory.

The real `shoal-agent run` beside MLServer and LitServe: same model, same session options, same client, in turn.
Run as `python benchmarks/serving.py`; prints one JSON line a figure.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from subprocess import PIPE, Popen
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in ("contract", "numerics", "agent"))]

from serving_parts.client import Connection, resident_bytes  # noqa: E402 - after the path
from serving_parts.cpu import cpu_s  # noqa: E402 - after the path
from serving_parts.device import (  # noqa: E402 - after the path
    INPUTS,
    MODEL,
    OUTPUTS,
    Served,
    digits,
    prepare_device,
    running_agent,
)
from serving_parts.in_process import cache_hit_lines  # noqa: E402 - after the path
from serving_parts.installed import install_agent  # noqa: E402 - after the path
from serving_parts.load import install_wrk, requests_per_s  # noqa: E402 - after the path
from serving_parts.model import write_image_model, write_model  # noqa: E402 - after the path
from serving_parts.peer import (  # noqa: E402 - after the path
    LIT_NAME,
    LIT_PINS,
    NAMES,
    install_peer,
    running_litserve,
    running_peer,
)

from shoal_agent.engines.onnx_engine import OnnxEngine  # noqa: E402 - after the path
from shoal_contract.manifest import TensorSpec  # noqa: E402 - after the path

ADDED_MS = 1.0
MEMORY_MB = 110.0
TIMES_BETTER = 2.0
JSON_CPU_US, IMAGE_CPU_US = 120.0, 400.0
RATES = {LIT_NAME: 2.0} | dict.fromkeys(NAMES.values(), 4.0)
"""How many times the peer's requests a second ours are to be."""
WARM_UP = 100
IMAGE = "image"
IMAGE_SHAPE = (1, 3, 224, 224)
IMAGE_INPUTS = (TensorSpec(name="x", datatype="FP32", shape=(-1, 3, 224, 224)),)
FLOOR = "floor"
"""HTTP alone, without a model: tells how fast this machine is (`serving_parts.floor`)."""
LOAD_S = 3
TURNS = 3


class Running(NamedTuple):
    """A server that runs."""

    process: "Popen[bytes]"
    port: int
    path: str


class Environments(NamedTuple):
    """Where the servers are installed: the Python of ours, the folders of the peers'."""

    agent: Path
    mlserver: Path
    litserve: Path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="turns of ours, peers' and the bare runtime")
    parser.add_argument("--requests", type=int, default=100, help="requests in a turn")
    parser.add_argument("--in-process", action="store_true", help="only what an answer from the cache costs in-process")
    options = parser.parse_args()
    if options.in_process:
        measure_in_process(options)
        return
    cache = ROOT / ".cache" / "bench"
    environments = Environments(
        install_agent(cache / "agent"), install_peer(cache / "mlserver"), install_peer(cache / "litserve", LIT_PINS)
    )
    wrk = install_wrk(cache / "wrk")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for line in measure(stack, Path(folder), environments, wrk, options):
            print(json.dumps(line), flush=True)


def measure_in_process(options: argparse.Namespace) -> None:
    """Measure and print what needs neither an agent nor peers."""
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "digits.onnx")
        prepare_device(Path(folder) / "device", digits(Path(folder) / "digits.onnx"))
        for one in cache_hit_lines(Path(folder) / "device", sample(), options.rounds, options.requests):
            print(json.dumps(one), flush=True)


def sample() -> NDArray[np.float32]:
    """Return one sample of the digits model."""
    return np.random.default_rng(0).random((1, 1, 8, 8), dtype=np.float32)


def measure(
    stack: ExitStack, folder: Path, environments: Environments, wrk: Path, options: argparse.Namespace
) -> list[dict[str, object]]:
    """Return the figures' lines."""
    model_path, image_path = folder / "digits.onnx", folder / "image.onnx"
    write_model(model_path)
    write_image_model(image_path)
    image = Served(IMAGE, image_path, IMAGE_INPUTS, OUTPUTS, features=4)
    prepare_device(folder / "device", digits(model_path))
    prepare_device(folder / "images", image)  # the memory that counts is that of one model
    x = sample()
    servers = start_all(stack, folder, environments, model_path)
    connections = {who: connect(one, x) for who, one in servers.items()}
    for who, connection in connections.items():
        stack.callback(connection.close)
        if who != FLOOR:  # which answers the same whatever it is asked
            np.testing.assert_allclose(connection.values(), connections["ours"].values(), atol=1e-5)
    engine = OnnxEngine(model_path, INPUTS, OUTPUTS)
    times, cpu_us = in_turn(servers, connections, engine, x, options)
    floor_us = round(cpu_us[FLOOR], 1)
    del servers[FLOOR]
    memory = {who: resident_bytes(one.process.pid) / 1e6 for who, one in servers.items()}
    rates = rates_in_turn(servers, wrk, folder, request_of(x))
    n = options.rounds * options.requests
    lines = []
    for name in (*NAMES.values(), LIT_NAME):
        added = {who: median(found) - median(times["bare"]) for who, found in times.items()}
        lines += [
            line("serving_added_latency_p50", "ms", added["ours"], (name, added[name]), n, (ADDED_MS, TIMES_BETTER)),
            line("serving_memory", "MB", memory["ours"], (name, memory[name]), 1, (MEMORY_MB, TIMES_BETTER)),
            line(
                "serving_added_cpu_json",
                "us",
                cpu_us["ours"] - cpu_us["bare"],
                (name, cpu_us[name] - cpu_us["bare"]),
                n,
                (JSON_CPU_US, 1.0),
            )
            | {"floor": floor_us},
            rate_line(rates["ours"], name, rates[name]),
        ]
    with running_agent(folder / "images", python=environments.agent) as (process, port):
        image_server = Running(process, port, f"/v2/models/{IMAGE}/infer")
        lines.append(image_line(image_server, image_path, options) | {"floor": floor_us})
    return [*lines, *cache_hit_lines(folder / "device", x, options.rounds, options.requests)]


def start_all(stack: ExitStack, folder: Path, environments: Environments, model_path: Path) -> dict[str, Running]:
    """Start ours and all peers; they run until the stack ends."""
    path = f"/v2/models/{MODEL}/infer"
    servers = {"ours": Running(*stack.enter_context(running_agent(folder / "device", python=environments.agent)), path)}
    for workers, name in NAMES.items():
        peer = running_peer(environments.mlserver, folder / f"peer{workers}", model_path, workers)
        servers[name] = Running(*stack.enter_context(peer), path)
    lit = running_litserve(environments.litserve, folder / "litserve", model_path)
    servers[LIT_NAME] = Running(*stack.enter_context(lit), "/predict")
    servers[FLOOR] = Running(*stack.enter_context(running_floor(environments.agent)), "/")
    return servers


@contextmanager
def running_floor(python: Path) -> Iterator[tuple["Popen[bytes]", int]]:
    """Run the bare server; gives its process and port."""
    with Popen([python, Path(__file__).parent / "serving_parts" / "floor.py"], stdout=PIPE) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.terminate()


def request_of(x: NDArray[np.float32]) -> bytes:
    """Return the request of one sample as JSON."""
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return json.dumps({"inputs": [tensor]}).encode()


def connect(server: Running, x: NDArray[np.float32]) -> Connection:
    """Connect to a server with the request of one sample prepared."""
    return Connection(server.port, server.path, request_of(x))


def in_turn(
    servers: dict[str, Running],
    connections: dict[str, Connection],
    engine: OnnxEngine,
    x: NDArray[np.float32],
    options: argparse.Namespace,
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Time servers and the bare runtime in turn, so that a busy moment of the machine meets them all.

    Returns:
        Milliseconds of each request, and the median over the rounds of the CPU's microseconds a request, by server.
    """
    times: dict[str, list[float]] = {who: [] for who in (*connections, "bare")}
    used: dict[str, list[float]] = {who: [] for who in times}
    for connection in connections.values():
        connection.times_ms(WARM_UP)
    for _ in range(options.rounds):
        for who, connection in connections.items():
            before_s = cpu_s(servers[who].process.pid)
            times[who] += connection.times_ms(options.requests)
            used[who].append((cpu_s(servers[who].process.pid) - before_s) / options.requests * 1e6)
        before_s = time.process_time()
        for _ in range(options.requests):
            started = time.perf_counter()
            engine.infer({"x": x})
            times["bare"].append((time.perf_counter() - started) * 1000)
        used["bare"].append((time.process_time() - before_s) / options.requests * 1e6)
    return times, {who: median(found) for who, found in used.items()}


def rates_in_turn(servers: dict[str, Running], wrk: Path, folder: Path, body: bytes) -> dict[str, float]:
    """Return the median of requests a second that each server answers."""
    rates: dict[str, list[float]] = {who: [] for who in servers}
    for _ in range(TURNS):
        for who, server in servers.items():
            url = f"http://127.0.0.1:{server.port}{server.path}"
            rates[who].append(requests_per_s(wrk, folder, url, body, LOAD_S))
    return {who: median(found) for who, found in rates.items()}


def rate_line(ours: float, name: str, peer: float) -> dict[str, object]:
    """Return the line of requests a second."""
    ratio = ours / peer
    return {
        "name": "serving_requests_per_s",
        "unit": "1/s",
        "ours": round(ours, 1),
        "peer": round(peer, 1),
        "peer_name": name,
        "ratio": round(ratio, 2),
        "n": TURNS,
        "goal": f"ratio >= {RATES[name]:g}",
        "holds": ratio >= RATES[name],
        "cores": os.cpu_count(),
    }


def image_line(server: Running, path: Path, options: argparse.Namespace) -> dict[str, object]:
    """Return the line of a float tensor of an image by the binary extension."""
    x = np.random.default_rng(0).random(IMAGE_SHAPE, dtype=np.float32)
    size: dict[str, Any] = {"binary_data_size": x.nbytes}
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "parameters": size}
    head = json.dumps({"inputs": [tensor]}).encode()
    header = f"Inference-Header-Content-Length: {len(head)}\r\n"
    connection = Connection(server.port, server.path, head + x.tobytes(), header)
    engine = OnnxEngine(path, IMAGE_INPUTS, OUTPUTS)
    connection.times_ms(WARM_UP)
    ours, bare = [], []
    for _ in range(options.rounds):
        before_s = cpu_s(server.process.pid)
        connection.times_ms(options.requests)
        ours.append((cpu_s(server.process.pid) - before_s) / options.requests * 1e6)
        before_s = time.process_time()
        for _ in range(options.requests):
            engine.infer({"x": x})
        bare.append((time.process_time() - before_s) / options.requests * 1e6)
    connection.close()
    added_us = median(ours) - median(bare)
    return {
        "name": "serving_added_cpu_image_binary",
        "unit": "us",
        "ours": round(added_us, 1),
        "peer": None,
        "peer_name": "the bare runtime, which is subtracted",
        "ratio": None,
        "n": options.rounds * options.requests,
        "goal": f"ours <= {IMAGE_CPU_US:g} us",
        "holds": added_us <= IMAGE_CPU_US,
        "bare": round(median(bare), 1),
    }


def line(
    name: str, unit: str, ours: float, peer: tuple[str, float], n: int, goal: tuple[float, float]
) -> dict[str, object]:
    """Return a figure's line; `goal` is the most that ours may be, and how many times better than the peer."""
    most, better = goal
    ratio = peer[1] / ours
    return {
        "name": name,
        "unit": unit,
        "ours": round(ours, 4),
        "peer": round(peer[1], 4),
        "peer_name": peer[0],
        "ratio": round(ratio, 2),
        "n": n,
        "goal": f"ours <= {most:g} {unit} and ratio >= {better:g}",
        "holds": ours <= most and ratio >= better,
    }


if __name__ == "__main__":
    main()
