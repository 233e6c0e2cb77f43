"""ONNX Runtime on the CPU, set up for a small machine that shares its cores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_agent.engines.engine import EngineError
from shoal_agent.engines.specs import check_specs
from shoal_agent.engines.tensors import Array, bytes_array
from shoal_contract.manifest import Datatype, TensorSpec

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
_LOG_ERRORS_ONLY: Final = 3


class OnnxEngine:
    """A model in ONNX Runtime; runs in the calling thread, and in several at once.

    Args:
        path: The .onnx file.
        inputs: The manifest's inputs.
        outputs: The manifest's outputs.

    Raises:
        EngineError: The file does not load, or its tensors are not those of the manifest.
    """

    def __init__(self, path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self._path = path
        self._session: Any = _open_session(path)
        self.inputs = inputs
        self.outputs = outputs
        self._output_names = [spec.name for spec in outputs]
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
        try:
            results = session.run(self._output_names, {name: _as_text(array) for name, array in inputs.items()})
        except Exception as error:  # the runtime's errors share no base class
            msg = f"running {self._path}: ONNX Runtime failed: {_first_line(error)}"
            raise EngineError(msg) from error
        return {name: _as_bytes(array) for name, array in zip(self._output_names, results, strict=True)}

    def close(self) -> None:
        """Free the model's memory."""
        self._session = None


def _open_session(path: Path) -> Any:  # noqa: ANN401 - the runtime has no types
    import onnxruntime as ort

    options = ort.SessionOptions()
    # One thread in the caller's own: a small model loses more by waking threads than it wins.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Threads that wait by spinning would heat the board and take the application's cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # The arena never gives memory back: after one batch of 64 a process held 230 MB, without it 102 MB, and
    # the time of a run did not change measurably.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = _LOG_ERRORS_ONLY
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors share no base class
        msg = f"loading {path}: ONNX Runtime does not load it: {_first_line(error)}"
        raise EngineError(msg) from error


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


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
