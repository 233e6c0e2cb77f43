"""ONNX Runtime behind `Engine`: one session, its tensors held against the manifest's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_agent.engines.engine import CPU, EngineError, EngineSetup
from shoal_agent.engines.onnx_session import OnnxOptions, first_line, open_session, shrinking
from shoal_agent.engines.specs import check_specs
from shoal_contract.manifest import Datatype, TensorSpec
from shoal_numerics.tensors import Array, bytes_array

_DATATYPES: Final[dict[str, Datatype]] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class OnnxEngine:
    """A model in ONNX Runtime; runs in the calling thread, and in several at once.

    Where an arena is kept, a run with larger inputs than the first one, the self-test's, gives back what it took.

    Args:
        path: The .onnx file.
        inputs: The manifest's inputs.
        outputs: The manifest's outputs.
        options: How it is to run.

    Raises:
        EngineError: The file does not load, its tensors are not those of the manifest, or the execution provider does
            not load.
    """

    def __init__(
        self,
        path: Path,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        options: OnnxOptions | None = None,
    ) -> None:
        options = options or OnnxOptions()
        self._path = path
        self._session: Any = open_session(path, options)
        self.inputs = inputs
        self.outputs = outputs
        self.setup: EngineSetup = options.setup
        self._output_names = [spec.name for spec in outputs]
        keeps_memory = self.setup.has_arena or self.setup.accelerator != CPU
        self._shrinking = shrinking(self.setup) if keeps_memory else None
        self._usual_bytes = 0
        check_specs(str(path), "input", _specs(path, self._session.get_inputs()), inputs)
        check_specs(str(path), "output", _specs(path, self._session.get_outputs()), outputs)

    @property
    def is_in_use(self) -> bool:
        """Never: a session runs in several threads at once."""
        return False

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once, see `Engine.infer`."""
        session = self._session
        if session is None:
            msg = f"running {self._path}: the engine is closed"
            raise EngineError(msg, remedy="load the model again")
        tensors = {name: _as_text(array) for name, array in inputs.items()}
        try:
            results = session.run(self._output_names, tensors, self._run_options(inputs))
        except Exception as error:  # the runtime's errors share no base class
            msg = f"running {self._path}: ONNX Runtime failed: {first_line(error)}"
            raise EngineError(msg) from error
        return {name: _as_bytes(array) for name, array in zip(self._output_names, results, strict=True)}

    def close(self) -> None:
        """Free the model's memory."""
        self._session = None

    def _run_options(self, inputs: Mapping[str, Array]) -> Any:  # noqa: ANN401 - the runtime has no types
        if self._shrinking is None:
            return None
        size_bytes = sum(array.nbytes for array in inputs.values())
        self._usual_bytes = self._usual_bytes or size_bytes
        return self._shrinking if size_bytes > self._usual_bytes else None


def _specs(path: Path, arguments: list[Any]) -> list[TensorSpec]:
    specs = []
    for argument in arguments:
        if argument.type not in _DATATYPES or argument.shape is None:
            msg = f"loading {path}: tensor {argument.name!r} is {argument.type}, expected numbers of a known rank"
            raise EngineError(msg)
        shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape)
        specs.append(TensorSpec(name=argument.name, datatype=_DATATYPES[argument.type], shape=shape))
    return specs


def _as_text(array: Array) -> Array:
    """Return a tensor as the runtime takes it: its strings are text."""
    if array.dtype.kind != "O":
        return array
    try:
        return np.array([one.decode() for one in array.ravel()], dtype=np.object_).reshape(array.shape)
    except UnicodeDecodeError as error:
        raise EngineError("an element of BYTES is no UTF-8, which ONNX Runtime asks for", "send text") from error


def _as_bytes(array: Array) -> Array:
    if array.dtype.kind != "O":
        return array
    return bytes_array([one.encode() for one in array.ravel()]).reshape(array.shape)
