"""How a session of ONNX Runtime is opened: on which provider, in how many threads, with how much of a GPU."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shoal_agent.engines.engine import EngineSetup
from shoal_agent.engines.ort_api import CUDA, TENSORRT
from shoal_agent.settings import Provider

PROVIDER_NAMES: Final[dict[Provider, str]] = {
    "tensorrt": TENSORRT,
    "cuda": CUDA,
    "cpu": "CPUExecutionProvider",
}
"""Execution providers as ONNX Runtime calls them, best first."""


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
    """Opens a session of the Python binding; None: `onnxruntime.InferenceSession` does, where the binding is used."""


def first_line(error: Exception) -> str:
    """Return what an error of a runtime says, on one line."""
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
