"""Exports a Keras model as float32 ONNX and proves that both compute the same.

By `keras.Model.export` and tf2onnx 1.17, which takes any Keras model (measured on the digits network: 0.5 s, and
outputs within 1e-6). Building the graph by hand would need no tf2onnx, but knows only the layers that it was
written for; the exporter of torch would make torch a dependency of every hub.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_training.errors import ExportError
from shoal_training.tensorflow_runtime import quiet_conversion

OPSET = 17
"""The oldest that all we need has: per-channel QDQ wants 13, and devices keep old runtimes for long."""
LARGEST_DIFFERENCE = 1e-5
"""Between Keras and ONNX Runtime, in probabilities: float32 rounding in another order, and nothing more."""


def export_onnx(
    model: Any,  # noqa: ANN401  (a keras.Model)
    path: Path,
    sample: npt.NDArray[np.float32],
    names: tuple[str, str] = ("image", "probabilities"),
) -> float:
    """Write `model` with an input and an output of these names, batch of any size.

    Args:
        model: Built Keras model with one input and one output.
        path: The `.onnx` file to write.
        sample: (n, …) float32 inputs on which Keras and ONNX Runtime are compared.
        names: Of the input and of the output.

    Returns:
        The largest absolute difference of an output on `sample`.

    Raises:
        ExportError: That difference is above `LARGEST_DIFFERENCE`, or not a number.
    """
    expected = np.asarray(model(sample, training=False))  # the exporter takes only a model that was called once
    written_onnx(model, path, names)
    difference = float(np.abs(run_onnx(path, sample) - expected).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise ExportError(
            f"exporting {model.name} to ONNX: outputs differ from Keras by {difference:.2e} on {len(sample)} "
            f"samples, expected at most {LARGEST_DIFFERENCE:.0e}; the exporter does not support one of its layers"
        )
    return difference


def written_onnx(model: Any, path: Path, names: tuple[str, str]) -> Any:  # noqa: ANN401  (a keras.Model, an onnx.ModelProto)
    """Write `model`, which has been called once, and return its graph; what it computes is compared by the caller."""
    import onnx

    with quiet_conversion():
        model.export(path, format="onnx", opset_version=OPSET, verbose=False)
    graph = onnx.load(path)
    _name_ends(graph, *names)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)
    return graph


def run_onnx(path: Path, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the first output of an ONNX model on the CPU for the batch `x`."""
    import onnxruntime as ort

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0], np.float32)


def _name_ends(model: Any, input_name: str, output_name: str) -> None:  # noqa: ANN401  (an onnx.ModelProto)
    """Rename the one input and the one output in place, and call their first dimension `batch`."""
    names = {model.graph.input[0].name: input_name, model.graph.output[0].name: output_name}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (model.graph.input[0], model.graph.output[0]):
        value.name = names[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
