"""A session of ONNX Runtime with one execution provider, set up for a small machine that shares its cores."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shoal_agent.engines.engine import CPU, EngineError, EngineSetup
from shoal_agent.settings import Provider

PROVIDER_NAMES: Final[dict[Provider, str]] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""Execution providers as ONNX Runtime calls them, best first."""
_LOG_ERRORS_ONLY: Final = 3


@dataclass(frozen=True)
class GpuBounds:
    """What a model may take of a GPU.

    Attributes:
        memory_bytes: Of the arena that holds weights and activations; 0: no bound.
        workspace_bytes: Of TensorRT, while it builds an engine.
        cache: Where TensorRT keeps the engines that it builds; None: nowhere.
        precision: The variant's: `fp16` and `int8` let TensorRT calculate so.
    """

    memory_bytes: int = 0
    workspace_bytes: int = 0
    cache: Path | None = None
    precision: str = "float32"


@dataclass(frozen=True)
class OnnxOptions:
    """How a session is opened."""

    setup: EngineSetup = field(default_factory=lambda: EngineSetup("onnxruntime"))
    gpu: GpuBounds = field(default_factory=GpuBounds)
    make_session: Callable[..., Any] | None = None
    """`onnxruntime.InferenceSession`, if nothing else is given."""


def open_session(path: Path, options: OnnxOptions) -> Any:  # noqa: ANN401 - the runtime has no types
    """Open a session that runs on the provider that was asked for, or raise.

    Raises:
        EngineError: The file does not load, or the provider does not.
    """
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


def shrinking(setup: EngineSetup) -> Any:  # noqa: ANN401 - the runtime has no types
    """Return run options with which a run gives back what it took of the arenas beyond what they hold anyway."""
    import onnxruntime as ort

    arenas = [*(["cpu:0"] if setup.has_arena else []), *(["gpu:0"] if setup.accelerator != CPU else [])]
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", ";".join(arenas))
    return options


def first_line(error: Exception) -> str:
    """Return what an error of a runtime says, on one line."""
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


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
