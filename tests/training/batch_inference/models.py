"""Small models and rows for batch inference: what they answer is known by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shoal_contract.processing import ClassesOutput, NumberFeature, Processing, TabularInput
from shoal_training.batch_inference.reading import InferenceFile, parse_inference
from shoal_training.batch_inference.running import Given, run_inference
from shoal_training.onnx_bundle import About, bundle_from_onnx

WEIGHTS = np.array([[1.0, -1.0], [2.0, 0.5], [0.0, 1.0]], dtype=np.float32)
COLUMNS = ("a", "b", "c")


def linear_bundle(folder: Path, *, is_declared: bool = False) -> Path:
    """Write a model of three numbers: scores are `x @ WEIGHTS`; declared, it has its columns and its labels."""
    product = helper.make_node("MatMul", ["x", "w"], ["scores"])
    graph = helper.make_graph(
        [product],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder.with_suffix(".onnx")
    onnx.save(model, path)
    processing = Processing(
        inputs={"x": TabularInput(features=tuple(NumberFeature(name=name) for name in COLUMNS))},
        outputs={"scores": ClassesOutput()},
    )
    about = About(name="linear", author="test", labels=("low", "high"), processing=processing if is_declared else None)
    samples = {"x": np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)}
    bundle_from_onnx(path, samples, folder, about)
    return folder


def write_rows(folder: Path, files: int = 3, rows: int = 10) -> list[dict[str, Any]]:
    """Write CSV files of numbered rows, and return the rows."""
    folder.mkdir(parents=True)
    made = []
    for file in range(files):
        some = [
            {"id": file * rows + at, "a": float(at), "b": 0.5 * file, "c": -1.0 * at, "site": f"s{at % 2}"}
            for at in range(rows)
        ]
        lines = [",".join(map(str, one.values())) for one in some]
        (folder / f"{file}.csv").write_text("\n".join(["id,a,b,c,site", *lines]) + "\n")
        made += some
    return made


def expected_scores(rows: list[dict[str, Any]]) -> list[list[float]]:
    """Return what the model answers."""
    x = np.array([[one[name] for name in COLUMNS] for one in rows], dtype=np.float32)
    return [list(map(float, one)) for one in x @ WEIGHTS]


def definition_text(sink: str, **more: Any) -> str:
    """Return a file that runs the model over `rows/`, in small parts."""
    fields = {"part_rows": 4, "batch_rows": 3, "inputs": {"x": list(COLUMNS)}, **more}
    lines = [f"{name}: {str(value).lower() if isinstance(value, bool) else value}" for name, value in fields.items()]
    return "\n".join(["name: nightly", "source: {path: rows}", "model: {bundle: bundle}", f"sink: {sink}", *lines])


def run(folder: Path, sink: str, run_id: str | None = "r1", **more: Any) -> Any:
    """Run the model over the rows of a folder, which has `rows` and `bundle`."""
    given = {name: more.pop(name) for name in ("is_cancelled", "progress") if name in more}
    text = definition_text(sink, **more)
    file = InferenceFile(folder / "nightly.yaml", text, parse_inference(text))
    return run_inference(file, Given(folder / "bundle", folder / "store", run_id=run_id, **given))
