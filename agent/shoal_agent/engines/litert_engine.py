"""LiteRT (ai-edge-litert, or tflite-runtime where that is what the board has) with its default XNNPACK delegate."""

import threading
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_agent.engines.engine import EngineError
from shoal_agent.engines.specs import check_specs
from shoal_agent.engines.tensors import DATATYPES, Array
from shoal_contract.manifest import TensorSpec

_SIGNATURES: Final = ("serving_default", "infer")
"""Signatures that serve, in this order; a trainable file has others beside them."""


class LiteRtEngine:
    """A model in one LiteRT interpreter, which one thread at a time may use; others wait.

    A file with signatures is run by the names in its serving signature, another one by the order of its tensors.
    An input of another batch size is resized to; a size that repeats costs nothing.

    Args:
        path: The .tflite file.
        inputs: The manifest's inputs.
        outputs: The manifest's outputs.

    Raises:
        EngineError: The file does not load, or its tensors are not those of the manifest.
    """

    def __init__(self, path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.inputs = inputs
        self.outputs = outputs
        interpreter = _open_interpreter(path)
        signature = _serving_signature(path, interpreter)
        self._run: Callable[[Mapping[str, Array]], dict[str, Array]] | None
        if signature is not None:
            self._run = _by_signature(path, interpreter, signature, inputs, outputs)
        else:
            self._run = _by_order(path, interpreter, inputs, outputs)

    @property
    def is_in_use(self) -> bool:
        """Whether another thread runs the model."""
        return self._lock.locked()

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once, see `Engine.infer`."""
        with self._lock:
            if self._run is None:
                msg = f"running {self._path}: the engine is closed"
                raise EngineError(msg, remedy="load the model again")
            try:
                return self._run(inputs)
            except (ValueError, RuntimeError) as error:
                msg = f"running {self._path}: LiteRT failed: {str(error)[:300]}"
                raise EngineError(msg) from error

    def close(self) -> None:
        """Free the model's memory."""
        with self._lock:
            self._run = None


def _open_interpreter(path: Path) -> Any:  # noqa: ANN401 - the runtime has no types
    if find_spec("ai_edge_litert") is not None:
        from ai_edge_litert.interpreter import Interpreter
    else:
        from tflite_runtime.interpreter import Interpreter
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        msg = f"loading {path}: LiteRT does not load it: {str(error)[:300]}"
        raise EngineError(msg) from error
    return interpreter


def _serving_signature(path: Path, interpreter: Any) -> str | None:  # noqa: ANN401
    names: list[str] = list(interpreter.get_signature_list())
    for name in _SIGNATURES:
        if name in names:
            return name
    if len(names) > 1:
        msg = f"loading {path}: signatures {', '.join(names)} found, expected one of {', '.join(_SIGNATURES)}"
        raise EngineError(msg)
    return names[0] if names else None


def _by_signature(
    path: Path,
    interpreter: Any,  # noqa: ANN401 - the runtime has no types
    signature: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Check a file's serving signature against the manifest; return the function that runs it."""
    runner = interpreter.get_signature_runner(signature)
    found_inputs = [_spec(path, name, detail) for name, detail in runner.get_input_details().items()]
    found_outputs = [_spec(path, name, detail) for name, detail in runner.get_output_details().items()]
    check_specs(str(path), "input", found_inputs, inputs)
    check_specs(str(path), "output", found_outputs, outputs)

    def run(tensors: Mapping[str, Array]) -> dict[str, Array]:
        results: dict[str, Array] = runner(**tensors)
        return results

    return run


def _by_order(
    path: Path,
    interpreter: Any,  # noqa: ANN401 - the runtime has no types
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Check a file without signatures against the manifest, whose order of tensors stands for the file's."""
    input_details, output_details = interpreter.get_input_details(), interpreter.get_output_details()
    check_specs(str(path), "input", _ordered(path, input_details, inputs), inputs)
    check_specs(str(path), "output", _ordered(path, output_details, outputs), outputs)
    input_indices = [detail["index"] for detail in input_details]
    output_indices = [detail["index"] for detail in output_details]

    def run(tensors: Mapping[str, Array]) -> dict[str, Array]:
        arrays = [tensors[spec.name] for spec in inputs]
        for index, array in zip(input_indices, arrays, strict=True):
            interpreter.resize_tensor_input(index, array.shape)
        interpreter.allocate_tensors()
        for index, array in zip(input_indices, arrays, strict=True):
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return {spec.name: interpreter.get_tensor(index) for spec, index in zip(outputs, output_indices, strict=True)}

    return run


def _ordered(path: Path, details: list[Any], expected: tuple[TensorSpec, ...]) -> list[TensorSpec]:
    """Give the file's tensors the manifest's names, one after the other; surplus ones keep their own."""
    names = [spec.name for spec in expected] + [str(detail["name"]) for detail in details[len(expected) :]]
    return [_spec(path, name, detail) for name, detail in zip(names, details, strict=False)]


def _spec(path: Path, name: str, detail: Any) -> TensorSpec:  # noqa: ANN401
    datatype = DATATYPES.get(np.dtype(detail["dtype"]))
    if datatype is None:
        msg = f"loading {path}: tensor {name!r} is {np.dtype(detail['dtype'])}, expected numbers"
        raise EngineError(msg)
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return TensorSpec(name=name, datatype=datatype, shape=tuple(int(size) for size in shape))
