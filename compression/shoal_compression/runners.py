"""Runs a model file as a device would: one thread, by its runtime, with the names of its input and output."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_compression.errors import TechniqueError
from shoal_contract.reported import Runtime

Array = npt.NDArray[np.float32]
Runner = Callable[[Array], Array]
"""Takes (n, …) float32, returns (n, classes) float32."""


def load_runner(runtime: Runtime, path: Path, input_name: str, output_name: str) -> Runner:
    """Load a model file.

    Raises:
        TechniqueError: The file cannot be loaded, or has no input or output of these names.
    """
    load = _load_onnx if runtime == "onnxruntime" else _load_litert
    try:
        return load(path, input_name, output_name)
    except (RuntimeError, ValueError, KeyError) as error:
        raise TechniqueError(
            f"loading {path} by {runtime}: {error}; expected an input {input_name!r} and an output {output_name!r}"
        ) from error


def open_onnx(path: Path) -> Any:  # noqa: ANN401 - the runtime has no types
    """Open an ONNX file in one thread of the CPU.

    Raises:
        ValueError: It does not load.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no root of their own
        raise ValueError(str(error)) from error


def _load_onnx(path: Path, input_name: str, output_name: str) -> Runner:
    session = open_onnx(path)
    inputs, outputs = [x.name for x in session.get_inputs()], [x.name for x in session.get_outputs()]
    if inputs != [input_name] or outputs != [output_name]:
        raise ValueError(f"inputs {inputs} and outputs {outputs} found")
    return lambda x: np.asarray(session.run([output_name], {input_name: x})[0], np.float32)


def _load_litert(path: Path, input_name: str, output_name: str) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    runner = interpreter.get_signature_runner("serving_default")
    inputs, outputs = list(runner.get_input_details()), list(runner.get_output_details())
    if inputs != [input_name] or outputs != [output_name]:
        raise ValueError(f"inputs {inputs} and outputs {outputs} found")
    return lambda x: np.asarray(runner(**{input_name: x})[output_name], np.float32)
