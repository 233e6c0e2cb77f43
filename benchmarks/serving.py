"""What local serving costs: latency added over the bare runtime call, and memory with one ONNX model loaded.

The real `shoal-agent run` beside MLServer: same model, same session options, same client, requests in turn.
Run as `python benchmarks/serving.py`; prints one JSON line a figure.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in ("contract", "numerics", "agent"))]

from serving_parts.client import Connection, resident_bytes  # noqa: E402 - after the path
from serving_parts.device import INPUTS, MODEL, OUTPUTS, prepare_device, running_agent  # noqa: E402 - after the path
from serving_parts.peer import NAMES, install_peer, running_peer  # noqa: E402 - after the path

from shoal_agent.engines.onnx_engine import OnnxEngine  # noqa: E402 - after the path

ADDED_MS = 1.0
MEMORY_MB = 110.0
TIMES_BETTER = 2.0
WARM_UP = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="turns of ours, peer's and the bare runtime")
    parser.add_argument("--requests", type=int, default=100, help="requests in a turn")
    options = parser.parse_args()
    environment = install_peer(ROOT / ".cache" / "bench" / "mlserver")
    with tempfile.TemporaryDirectory() as folder:
        for line in measure(Path(folder), environment, options.rounds, options.requests):
            print(json.dumps(line), flush=True)


def measure(folder: Path, environment: Path, rounds: int, requests: int) -> list[dict[str, object]]:
    """Return the figures' lines."""
    model_path = folder / "digits.onnx"
    write_model(model_path)
    prepare_device(folder / "device", model_path)
    x = np.random.default_rng(0).random((1, 1, 8, 8), dtype=np.float32)
    with ExitStack() as stack:
        processes = {"ours": stack.enter_context(running_agent(folder / "device"))}
        for workers, name in NAMES.items():
            peer = running_peer(environment, folder / f"peer{workers}", model_path, workers)
            processes[name] = stack.enter_context(peer)
        connections = {who: connect(port, x) for who, (_, port) in processes.items()}
        for connection in connections.values():
            stack.callback(connection.close)
            np.testing.assert_allclose(connection.values(), connections["ours"].values(), atol=1e-6)
        times = in_turn(connections, OnnxEngine(model_path, INPUTS, OUTPUTS), x, rounds, requests)
        memory = {who: resident_bytes(process.pid) / 1e6 for who, (process, _) in processes.items()}
    bare = median(times.pop("bare"))
    added = {who: median(found) - bare for who, found in times.items()}
    lines = []
    for name in NAMES.values():
        n = rounds * requests
        lines += [
            line("serving_added_latency_p50", "ms", added["ours"], (name, added[name]), n, (ADDED_MS, TIMES_BETTER)),
            line("serving_memory", "MB", memory["ours"], (name, memory[name]), 1, (MEMORY_MB, TIMES_BETTER)),
        ]
    return lines


def connect(port: int, x: NDArray[np.float32]) -> Connection:
    """Connect to a server of the protocol with the request of one sample prepared."""
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return Connection(port, f"/v2/models/{MODEL}/infer", json.dumps({"inputs": [tensor]}).encode())


def in_turn(
    connections: dict[str, Connection], engine: OnnxEngine, x: NDArray[np.float32], rounds: int, requests: int
) -> dict[str, list[float]]:
    """Time the servers and the bare runtime in turn, so that a busy moment of the machine meets them all."""
    times: dict[str, list[float]] = {who: [] for who in (*connections, "bare")}
    for connection in connections.values():
        connection.times_ms(WARM_UP)
    for _ in range(rounds):
        for who, connection in connections.items():
            times[who] += connection.times_ms(requests)
        for _ in range(requests):
            started = time.perf_counter()
            engine.infer({"x": x})
            times["bare"].append((time.perf_counter() - started) * 1000)
    return times


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


def write_model(path: Path) -> None:
    """Write a small CNN for 8 x 8 digits, 64 floats in, 10 out; its weights are random."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (16, 1, 3, 3), "b1": (16,), "w2": (32, 16, 3, 3), "b2": (32,), "w3": (512, 10), "b3": (10,)}
    weights = [
        numpy_helper.from_array((rng.normal(size=shape) * 0.1).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


if __name__ == "__main__":
    main()
