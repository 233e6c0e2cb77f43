"""Load a variant's file with the runtime that its manifest names."""

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shoal_agent.engines.engine import Engine, EngineError
from shoal_agent.hardware import available_runtimes
from shoal_contract.formats import RUNTIME_LIMITS, FormatError, check_device_file
from shoal_contract.manifest import TensorSpec, Variant
from shoal_contract.reported import Runtime

LoadEngine = Callable[[Path, Variant, tuple[TensorSpec, ...], tuple[TensorSpec, ...]], Engine]
"""Loads a variant's file; see `load_engine`."""
_FORMATS: Final[dict[Runtime, str]] = {"onnxruntime": "onnx", "litert": "tflite"}
_EXTRAS: Final[dict[Runtime, str]] = {"onnxruntime": "onnx", "litert": "litert"}


def load_engine(
    path: Path, variant: Variant, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> Engine:
    """Load the file of a variant and check that it is what the manifest says.

    Args:
        path: The variant's file; its hash has been checked by the caller.
        variant: The manifest's statement about the file.
        inputs: The version's inputs, by the manifest.
        outputs: The version's outputs, by the manifest.

    Raises:
        EngineError: The runtime is not installed, the file does not load or is of another format, or its tensors
            are not those of the manifest.
    """
    _check_runtime(variant)
    _check_format(path, variant)
    if variant.runtime == "onnxruntime":
        from shoal_agent.engines.onnx_engine import OnnxEngine

        return OnnxEngine(path, inputs, outputs)
    from shoal_agent.engines.litert_engine import LiteRtEngine

    return LiteRtEngine(path, inputs, outputs)


def _check_runtime(variant: Variant) -> None:
    if variant.runtime not in available_runtimes():
        installed = ", ".join(available_runtimes()) or "none"
        msg = f"loading variant {variant.target}: it needs the runtime {variant.runtime}; installed here: {installed}"
        raise EngineError(msg, remedy=f"on the device: pip install 'shoal[{_EXTRAS[variant.runtime]}]'")
    if variant.format != _FORMATS[variant.runtime]:
        msg = (
            f"loading variant {variant.target}: format {variant.format} found for the runtime {variant.runtime}, "
            f"which runs {_FORMATS[variant.runtime]}"
        )
        raise EngineError(msg)


def _check_format(path: Path, variant: Variant) -> None:
    """Look through the file before a runtime does: a signed file may still be one that the hub should not have signed.

    ONNX Runtime reads external data beside the file, or in the working directory of a model that comes from memory; so
    a file that mentions any never reaches it. The map costs the pages of the file's structure, not its tensors.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            check_device_file(data, variant.format, RUNTIME_LIMITS)
    except FormatError as error:
        raise EngineError(f"loading variant {variant.target}: {path}: {error}", remedy=error.remedy) from error
    except OSError as error:
        msg = f"loading variant {variant.target}: {path} cannot be read ({error.strerror})"
        raise EngineError(msg, remedy="check the data folder's disk and owner, then restart the agent") from error
    except ValueError as error:
        raise EngineError(f"loading variant {variant.target}: {path} is empty") from error
