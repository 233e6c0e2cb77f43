"""LiteRT (ai-edge-litert, or tflite-runtime where that is what the board has), on XNNPACK or a delegate."""

import ctypes
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_agent.engines.engine import CPU, EngineError, EngineSetup
from shoal_agent.engines.specs import check_specs
from shoal_agent.hardware import module_of
from shoal_contract.manifest import TensorSpec, is_compatible
from shoal_numerics.tensors import DATATYPES, Array

_SIGNATURES: Final = ("serving_default", "infer")
"""Signatures that serve, in this order; a trainable file has others beside them."""
Run = Callable[[Mapping[str, Array]], dict[str, Array]]


class LiteRtEngine:
    """A model in one LiteRT interpreter, which one thread at a time may use; others wait.

    A file with signatures is run by the names in its serving signature, another one by the order of its tensors.
    An input of another batch size is resized to; a size that repeats costs nothing.

    Args:
        path: The .tflite file.
        inputs: The manifest's inputs.
        outputs: The manifest's outputs.
        setup: How it is to run; if nothing is given, in one thread of XNNPACK.

    Raises:
        EngineError: The file or the delegate does not load, or its tensors are not those of the manifest.
    """

    def __init__(
        self,
        path: Path,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        setup: EngineSetup | None = None,
    ) -> None:
        self.setup = setup or EngineSetup(module_of("litert") or "ai_edge_litert")
        self._path = path
        self._lock = threading.Lock()
        self.inputs = inputs
        self.outputs = outputs
        interpreter = _open_interpreter(path, self.setup)
        signature = _serving_signature(path, interpreter)
        self._run: Run | None
        if signature is not None:
            self._run, found = _by_signature(path, interpreter, signature, inputs, outputs)
        else:
            self._run, found = _by_order(path, interpreter, inputs, outputs)
        self._takes = [_narrowed(spec, found) for spec in inputs]

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
            self._check_shapes(inputs)
            try:
                return self._run(inputs)
            except (ValueError, RuntimeError) as error:
                msg = f"running {self._path}: LiteRT failed: {str(error)[:300]}"
                raise EngineError(msg) from error

    def close(self) -> None:
        """Free the model's memory."""
        with self._lock:
            self._run = None

    def _check_shapes(self, inputs: Mapping[str, Array]) -> None:
        """Refuse what does not fit: tflite-runtime 2.14 calculates with it, and reads beyond its end."""
        for spec in self._takes:
            shape = inputs[spec.name].shape
            if not is_compatible(shape, spec.shape):
                msg = f"running {self._path}: input {spec.name!r} is {list(shape)}, expected {list(spec.shape)}"
                raise EngineError(msg, "send an input of the shape that the model's metadata tells")


def _open_interpreter(path: Path, setup: EngineSetup) -> Any:  # noqa: ANN401 - the runtime has no types
    runtime = import_module(f"{setup.module}.interpreter")
    delegates = None if setup.accelerator == CPU else [_load_delegate(path, runtime, setup.accelerator)]
    try:
        # XNNPACK is the runtime's own default, with as many threads.
        interpreter = runtime.Interpreter(
            model_path=str(path), num_threads=setup.threads, experimental_delegates=delegates
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        msg = f"loading {path}: LiteRT does not load it: {str(error)[:300]}"
        raise EngineError(msg) from error
    return interpreter


def _load_delegate(path: Path, runtime: Any, library: str) -> Any:  # noqa: ANN401
    try:
        # First by itself: what the runtime has made of a library that is none complains when it is collected.
        ctypes.CDLL(library).tflite_plugin_create_delegate  # noqa: B018
        return runtime.load_delegate(library)
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        msg = f"loading {path}: the delegate {library} does not load: {str(error)[:300]}"
        raise EngineError(msg, "install the delegate's library, or take it out of --delegate") from error


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
) -> tuple[Run, list[TensorSpec]]:
    """Check a file's serving signature against the manifest; return the function that runs it, and its inputs."""
    runner = interpreter.get_signature_runner(signature)
    found_inputs = [_spec(path, name, detail) for name, detail in runner.get_input_details().items()]
    found_outputs = [_spec(path, name, detail) for name, detail in runner.get_output_details().items()]
    check_specs(str(path), "input", found_inputs, inputs)
    check_specs(str(path), "output", found_outputs, outputs)

    def run(tensors: Mapping[str, Array]) -> dict[str, Array]:
        results: dict[str, Array] = runner(**tensors)
        return results

    return run, found_inputs


def _by_order(
    path: Path,
    interpreter: Any,  # noqa: ANN401 - the runtime has no types
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> tuple[Run, list[TensorSpec]]:
    """Check a file without signatures against the manifest, whose order of tensors stands for the file's; likewise."""
    input_details, output_details = interpreter.get_input_details(), interpreter.get_output_details()
    found_inputs = _ordered(path, input_details, inputs)
    check_specs(str(path), "input", found_inputs, inputs)
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

    return run, found_inputs


def _narrowed(spec: TensorSpec, found: list[TensorSpec]) -> TensorSpec:
    """Return what an input takes: sizes that the manifest leaves open are the file's, but for that of the batch."""
    others = next(one.shape for one in found if one.name == spec.name)
    sizes = (
        own if own != -1 or not place else other
        for place, (own, other) in enumerate(zip(spec.shape, others, strict=True))
    )
    return spec.model_copy(update={"shape": tuple(sizes)})


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
