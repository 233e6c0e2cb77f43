"""A small real bundle: a linear classifier of four features and three labels, as ONNX, with its data."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from httpx import Response
from onnx import TensorProto, helper

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.registry.inspection import inspect
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.registry.register import RegisterRequest, read_checked_bundle, register

WEIGHTS = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 2], [0.5, -0.5, 0]], dtype=np.float32)
LABELS = ["red", "green", "blue"]
DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3, "activation": "softmax"}}


def write_bundle(
    folder: Path,
    *,
    seed: int = 0,
    extra: dict[str, bytes] | None = None,
    model_onnx: bytes | None = None,
    **changes: Any,
) -> Path:
    """Write a bundle with `extra` files and this ONNX file; `changes` go into bundle.json after all else."""
    folder.mkdir(parents=True)
    for name, content in (extra or {}).items():
        (folder / name).write_bytes(content)
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(200, 4)).astype(np.float32)
    y = (x @ WEIGHTS).argmax(axis=1).astype(np.int32)
    np.savez_compressed(folder / "calibration.npz", x=x[:150])
    np.savez_compressed(folder / "test.npz", x=x[150:], y=y[150:])
    (folder / "model.onnx").write_bytes(model_onnx or make_onnx(WEIGHTS + seed))
    description = {
        "name": "colours",
        "algorithm": "linear classifier",
        "author": "ada",
        "framework": "numpy",
        "parameters": {"seed": seed},
        "metrics": {"accuracy": 1.0},
        "tags": ["test"],
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
        "labels": LABELS,
        "data_sha256": hashlib.sha256(x.tobytes()).hexdigest(),
        "seed": seed,
        "trainer": {"batch_size": 16},
        "tool_versions": {"numpy": np.__version__},
        "files": {path.name: record(path) for path in sorted(folder.iterdir())},
    }
    (folder / "bundle.json").write_text(json.dumps(description | changes))
    return folder


def record(path: Path) -> dict[str, Any]:
    """Return hash and size, as bundle.json names them."""
    data = path.read_bytes()
    return {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}


def replace_model(folder: Path, content: bytes) -> None:
    """Put another ONNX file into a bundle."""
    (folder / "model.onnx").write_bytes(content)
    description = json.loads((folder / "bundle.json").read_text())
    description["files"]["model.onnx"] = record(folder / "model.onnx")
    (folder / "bundle.json").write_text(json.dumps(description))


def make_onnx(weights: np.ndarray[Any, Any]) -> bytes:
    """Return softmax(x @ weights) as an ONNX model."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"]),
        ],
        "colours",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel().tolist())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def wide_onnx(seed: int, width: int = 30_000) -> bytes:
    """Return softmax(x @ WEIGHTS) by way of a wide layer: 384 KiB in int8, and versions have nothing in common."""
    spread = np.random.default_rng(seed).normal(size=(4, width)).astype(np.float32)
    layers = {"spread": spread, "gather": (np.linalg.pinv(spread) @ WEIGHTS).astype(np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "spread"], ["wide"]),
            helper.make_node("MatMul", ["wide", "gather"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"]),
        ],
        "colours",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor(name, TensorProto.FLOAT, at.shape, at.ravel().tolist()) for name, at in layers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def post_bundle(client: Any, folder: Path, model: str = "colours", request: str = "{}") -> Response:
    """Send every file of a folder to the registry."""
    files = [("files", (path.name, path.read_bytes())) for path in sorted(folder.iterdir())]
    response: Response = client.post(f"/api/v1/models/{model}/versions", data={"bundle": request}, files=files)
    return response


def register_bundle(hub: HubContext, folder: Path, request: RegisterRequest | None = None) -> int:
    """Register a bundle without the API and return its number."""
    bundle = read_checked_bundle(folder, "colours")
    request = request or RegisterRequest()
    with hub.database.transaction() as session:
        now = utc_now()
        return register(
            session, hub.artifacts, folder, bundle, inspect(folder, BundleLimits()), request, by="ada", now=now
        ).number


def keras_archive(config: object = None, weights: bytes | None = None, **members: bytes) -> bytes:
    """Return a `.keras` archive of one dense layer, with what is given in place of its parts."""
    plain = {"module": "keras", "class_name": "Sequential", "config": {"layers": [DENSE]}, "registered_name": None}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(plain if config is None else config))
        archive.writestr("model.weights.h5", weights if weights is not None else hdf5())
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def hdf5(fill: Callable[[Any], object] | None = None) -> bytes:
    """Return an HDF5 file with a small data set, and what `fill` puts into it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("layers/dense/vars").create_dataset("0", data=WEIGHTS)
        if fill is not None:
            fill(file)
    return buffer.getvalue()
