"""A tiny real ONNX model (softmax of a linear layer) with its manifest, for tests of what happens to a version."""

import base64
from dataclasses import dataclass, field
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.ids import sha256_hex
from shoal_contract.manifest import (
    Baseline,
    FeatureBaseline,
    Provenance,
    TensorData,
    TensorSpec,
    Variant,
    VersionManifest,
)

FEATURES, CLASSES = 4, 2
TARGET = "generic-onnx-int8"
GOLDEN = np.linspace(-1, 1, 2 * FEATURES, dtype=np.float32).reshape(2, FEATURES)


def tiny_onnx(seed: int, padding_bytes: int = 0) -> tuple[bytes, NDArray[np.float32]]:
    """Return the file and its weights (FEATURES, CLASSES); `padding_bytes` makes the file larger, not slower."""
    weights = np.random.default_rng(seed).normal(size=(FEATURES, CLASSES)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["image", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["probabilities"])],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.doc_string = np.random.default_rng(seed).bytes(padding_bytes // 2).hex()
    return model.SerializeToString(), weights


def answer(weights: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the model answers to x (n, FEATURES)."""
    e = np.exp(x @ weights)
    return np.asarray(e / e.sum(axis=1, keepdims=True), dtype=np.float32)


def to_tensor(array: NDArray[np.float32]) -> TensorData:
    return TensorData(datatype="FP32", shape=array.shape, data=base64.b64encode(array.astype("<f4").tobytes()).decode())


@dataclass
class TinyVersion:
    """One version: its file, its manifest and their hashes; change a field before `manifest` to make it bad."""

    number: int = 1
    model: str = "tiny"
    padding_bytes: int = 0
    target: str = TARGET
    file: bytes = b""
    golden_outputs: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))

    def __post_init__(self) -> None:
        made, self.weights = tiny_onnx(self.number, self.padding_bytes)
        self.file = self.file or made
        if self.golden_outputs is None:
            self.golden_outputs = answer(self.weights, GOLDEN)

    def manifest(self) -> VersionManifest:
        assert self.golden_outputs is not None
        bins = FeatureBaseline(name="x", edges=(-0.5, 0.0, 0.5), counts=(25, 25, 25, 25))
        features = tuple(bins.model_copy(update={"name": f"x{index}"}) for index in range(FEATURES))
        return VersionManifest(
            model=self.model,
            version=self.number,
            created_at=datetime(2026, 11, 1, tzinfo=timezone.utc),
            inputs=(TensorSpec(name="image", datatype="FP32", shape=(-1, FEATURES)),),
            outputs=(TensorSpec(name="probabilities", datatype="FP32", shape=(-1, CLASSES)),),
            labels=("no", "yes"),
            golden_inputs={"image": to_tensor(GOLDEN)},
            variants=(
                Variant(
                    target=self.target,
                    runtime="onnxruntime",
                    format="onnx",
                    precision="int8",
                    sha256=sha256_hex(self.file),
                    size_bytes=len(self.file),
                    golden_outputs={"probabilities": to_tensor(self.golden_outputs)},
                    golden_tolerance=1e-4,
                ),
            ),
            baseline=Baseline(samples=100, features=features, predictions=(50, 50), confidence=bins),
            provenance=Provenance(source_sha256="0" * 64, data_sha256="0" * 64),
        )

    def wanted(self, deployment: str = "dp-1") -> DesiredModel:
        """Return the desired state's section that asks for this version."""
        data = self.manifest().to_bytes()
        ref = ArtifactRef(sha256=sha256_hex(data), size_bytes=len(data))
        return DesiredModel(version=self.number, target=self.target, manifest=ref, deployment=deployment)
