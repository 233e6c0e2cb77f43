"""What local serving costs: latency added over the bare runtime call, and memory with one ONNX model loaded.

The real `shoal-agent run` beside MLServer: same model, same session options, same client, requests in turn.
Run as `python benchmarks/serving.py`; prints one JSON line a figure.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("contract", "numerics", "agent")]

from serving_parts.client import Connection, resident_bytes
from serving_parts.device import INPUTS, MODEL, OUTPUTS, prepare_device, running_agent
from serving_parts.peer import NAME, install_peer, running_peer

from shoal_agent.engines.onnx_engine import OnnxEngine

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
    for name in ("device", "peer"):
        (folder / name).mkdir()
    prepare_device(folder / "device", model_path)
    x = np.random.default_rng(0).random((1, 1, 8, 8), dtype=np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": x.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    path = f"/v2/models/{MODEL}/infer"
    with (
        running_agent(folder / "device") as (agent, agent_port),
        running_peer(environment, folder / "peer", model_path) as (peer, peer_port),
    ):
        ours, theirs = Connection(agent_port, path, body), Connection(peer_port, path, body)
        np.testing.assert_allclose(ours.values(), theirs.values(), atol=1e-6)
        engine = OnnxEngine(model_path, INPUTS, OUTPUTS)
        times = in_turn(ours, theirs, engine, x, rounds, requests)
        memory = {"ours": resident_bytes(agent.pid) / 1e6, "peer": resident_bytes(peer.pid) / 1e6}
        ours.close()
        theirs.close()
    bare = median(times["bare"])
    added = {who: median(times[who]) - bare for who in ("ours", "peer")}
    n = rounds * requests
    return [
        line("serving_added_latency_p50", "ms", added["ours"], added["peer"], n, ADDED_MS),
        line("serving_memory", "MB", memory["ours"], memory["peer"], 1, MEMORY_MB),
    ]


def in_turn(
    ours: Connection, theirs: Connection, engine: OnnxEngine, x: np.ndarray, rounds: int, requests: int
) -> dict[str, list[float]]:
    """Time both servers and the bare runtime in turn, so that a busy moment of the machine meets all three."""
    times: dict[str, list[float]] = {"ours": [], "peer": [], "bare": []}
    ours.times_ms(WARM_UP)
    theirs.times_ms(WARM_UP)
    for _ in range(rounds):
        times["ours"] += ours.times_ms(requests)
        times["peer"] += theirs.times_ms(requests)
        for _ in range(requests):
            started = time.perf_counter()
            engine.infer({"x": x})
            times["bare"].append((time.perf_counter() - started) * 1000)
    return times


def line(name: str, unit: str, ours: float, peer: float, n: int, most: float) -> dict[str, object]:
    """Return a figure's line; it holds where ours is at most `most` and the peer's at least twice ours."""
    return {
        "name": name,
        "unit": unit,
        "ours": round(ours, 4),
        "peer": round(peer, 4),
        "peer_name": NAME,
        "ratio": round(peer / ours, 2),
        "n": n,
        "goal": f"ours <= {most:g} {unit} and ratio >= {TIMES_BETTER:g}",
        "holds": ours <= most and peer / ours >= TIMES_BETTER,
    }


def write_model(path: Path) -> None:
    """Write a small CNN for 8 × 8 digits, 64 floats in, 10 out; its weights are random."""
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
