"""A session over ONNX Runtime's Python binding: for accelerators, and where the library for `ort_session` is missing.

It holds Python's lock while it opens a session, and so stops the agent's other threads for that long.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_agent.engines.engine import CPU, EngineError, EngineSetup
from shoal_agent.engines.onnx_options import PROVIDER_NAMES, GpuBounds, OnnxOptions, first_line
from shoal_agent.engines.ort_tensors import texts_of
from shoal_agent.settings import Provider
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import ONNX_DATATYPES, Array, bytes_array

_LOG_ERRORS_ONLY: Final = 3


class BoundSession:
    """A model in `onnxruntime.InferenceSession`.

    Args:
        path: The .onnx file.
        options: How it is opened.

    Raises:
        EngineError: The file does not load, has a tensor of another kind, or the execution provider does not load.
    """

    def __init__(self, path: Path, options: OnnxOptions) -> None:
        self._session: Any = _open(path, options)
        self.inputs = _specs(path, self._session.get_inputs())
        self.outputs = _specs(path, self._session.get_outputs())
        self._output_names = [spec.name for spec in self.outputs]
        self._shrinking = _shrinking(options.setup)

    def run(self, inputs: Mapping[str, Array], *, shrinks: bool) -> dict[str, Array]:
        """Run the model once, see `OnnxSession.run`."""
        tensors = {name: _as_text(array) for name, array in inputs.items()}
        results = self._session.run(self._output_names, tensors, self._shrinking if shrinks else None)
        answers = {name: _as_bytes(array) for name, array in zip(self._output_names, results, strict=True)}
        # Of some versions such an output is the memory of the input, which belongs to who asked.
        copied = {name: np.array(answers[name]) for name in tensors.keys() & answers.keys()}
        return answers | copied if copied else answers


def _open(path: Path, options: OnnxOptions) -> Any:  # noqa: ANN401 - the runtime has no types
    """Open a session that runs on the provider that was asked for, or raise."""
    import onnxruntime as ort

    make_session = options.make_session or ort.InferenceSession
    asked = providers_of(options)
    try:
        # Its own way of falling back prints, and says nothing to who asked.
        session = make_session(str(path), _session_options(ort, options.setup), providers=asked, enable_fallback=0)
    except Exception as error:  # the runtime's errors share no base class
        msg = f"loading {path}: ONNX Runtime does not load it: {first_line(error)}"
        raise EngineError(msg) from error
    found = list(session.get_providers())
    if asked[0][0] not in found:  # a provider whose libraries are missing is left out with no more than a log line
        msg = f"loading {path}: ONNX Runtime runs it on {', '.join(found)}, not on {asked[0][0]}, which did not load"
        raise EngineError(msg, "see the libraries that this build of ONNX Runtime asks for: CUDA, cuDNN, TensorRT")
    return session


def providers_of(options: OnnxOptions) -> list[tuple[str, dict[str, str]]]:
    """Return the execution providers of a session with their options: the one asked for, then what takes its rest."""
    bounds = options.gpu
    all_options = {"tensorrt": _tensorrt(bounds), "cuda": _cuda(bounds), CPU: {}}
    names = list(PROVIDER_NAMES)
    rest = names[names.index(_provider(options.setup)) :]
    return [(PROVIDER_NAMES[name], all_options[name]) for name in rest]


def _shrinking(setup: EngineSetup) -> Any:  # noqa: ANN401 - the runtime has no types
    """Return run options with which a run gives back what it took of the arenas beyond what they hold anyway."""
    import onnxruntime as ort

    arenas = [*(["cpu:0"] if setup.has_arena else []), *(["gpu:0"] if setup.accelerator != CPU else [])]
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", ";".join(arenas))
    return options


def _provider(setup: EngineSetup) -> Provider:
    for name in PROVIDER_NAMES:
        if name == setup.accelerator:
            return name
    msg = f"opening a session of ONNX Runtime on {setup.accelerator!r}: expected one of {', '.join(PROVIDER_NAMES)}"
    raise EngineError(msg, "correct the agent's --provider")


def _session_options(ort: Any, setup: EngineSetup) -> Any:  # noqa: ANN401
    options = ort.SessionOptions()
    options.intra_op_num_threads = setup.threads
    options.inter_op_num_threads = 1
    # Threads that wait by spinning would heat the board and take the application's cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # The arena never gives memory back by itself: after one batch of 64 a process held 230 MB, without it 102 MB.
    options.enable_cpu_mem_arena = setup.has_arena
    options.log_severity_level = _LOG_ERRORS_ONLY
    return options


def _cuda(bounds: GpuBounds) -> dict[str, str]:
    options = {
        # The default doubles the arena at each extension: on a board whose GPU shares its memory, until it dies.
        "arena_extend_strategy": "kSameAsRequested",
        # Trying every algorithm takes workspace that nothing bounds.
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "0",
    }
    return options | ({"gpu_mem_limit": str(bounds.memory_bytes)} if bounds.memory_bytes else {})


def _tensorrt(bounds: GpuBounds) -> dict[str, str]:
    options = {
        "trt_fp16_enable": str(int(bounds.precision == "fp16")),
        "trt_int8_enable": str(int(bounds.precision == "int8")),
        "trt_context_memory_sharing_enable": "1",
    }
    if bounds.workspace_bytes:
        options["trt_max_workspace_size"] = str(bounds.workspace_bytes)
    if bounds.cache is not None:
        folder = str(bounds.cache)
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
        options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": folder}
    return options


def _specs(path: Path, arguments: list[Any]) -> list[TensorSpec]:
    specs = []
    for argument in arguments:
        if argument.type not in ONNX_DATATYPES or argument.shape is None:
            msg = f"loading {path}: tensor {argument.name!r} is {argument.type}, expected numbers of a known rank"
            raise EngineError(msg)
        shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape)
        specs.append(TensorSpec(name=argument.name, datatype=ONNX_DATATYPES[argument.type], shape=shape))
    return specs


def _as_text(array: Array) -> Array:
    """Return a tensor as the binding takes it: its strings are text."""
    if array.dtype.kind != "O":
        return array
    return np.array(texts_of(array), dtype=np.object_).reshape(array.shape)


def _as_bytes(array: Array) -> Array:
    if array.dtype.kind != "O":
        return array
    return bytes_array([one.encode() for one in array.ravel()]).reshape(array.shape)
