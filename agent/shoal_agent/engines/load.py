"""Load a variant's file with the runtime that its manifest names."""

import mmap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from shoal_agent.engines.engine import Engine, EngineError
from shoal_agent.engines.runtime_check import RuntimeBrokenError
from shoal_agent.hardware import RUNTIME_MODULES, available_runtimes
from shoal_contract.formats import RUNTIME_LIMITS, FormatError, check_device_file
from shoal_contract.manifest import TensorSpec, Variant, VersionManifest
from shoal_contract.reported import RUNTIME_FORMATS, RUNTIME_WORDS

LoadEngine = Callable[[Path, VersionManifest, Variant], Engine]
"""Loads the file of a version's variant; see `Runtimes.load` and `load_version`."""
Broken = Mapping[str, RuntimeBrokenError]
"""Modules that are installed and do not work on this board, with why."""
_NONE_BROKEN: Final[Broken] = MappingProxyType({})


def load_version(path: Path, manifest: VersionManifest, variant: Variant) -> Engine:
    """Load a version's variant in one thread of the CPU, see `load_engine`."""
    return load_engine(path, variant, manifest.inputs, manifest.outputs)


def load_engine(
    path: Path, variant: Variant, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> Engine:
    """Load the file of a variant, in one thread of the CPU, and check that it is what the manifest says.

    Args:
        path: The variant's file; its hash has been checked by the caller.
        variant: The manifest's statement about the file.
        inputs: The version's inputs, by the manifest.
        outputs: The version's outputs, by the manifest.

    Raises:
        EngineError: The runtime is not installed, the file does not load or is of another format, or its tensors
            are not those of the manifest.
    """
    check_loadable(path, variant)
    if variant.runtime == "onnxruntime":
        from shoal_agent.engines.onnx_engine import OnnxEngine

        return OnnxEngine(path, inputs, outputs)
    from shoal_agent.engines.litert_engine import LiteRtEngine

    return LiteRtEngine(path, inputs, outputs)


def check_loadable(path: Path, variant: Variant, broken: Broken = _NONE_BROKEN) -> None:
    """Return if a file may be given to its runtime.

    Args:
        path: The variant's file.
        variant: The manifest's statement about the file.
        broken: Modules of runtimes that are not to be used.

    Raises:
        EngineError: The runtime is not installed or does not work here, or the file is none that may be loaded.
    """
    _check_runtime(variant, broken)
    _check_format(path, variant)


def _check_runtime(variant: Variant, broken: Broken) -> None:
    usable = available_runtimes(broken)
    if variant.runtime not in usable:
        for name in RUNTIME_MODULES[variant.runtime]:
            if name in broken:
                error = broken[name]
                raise EngineError(f"loading variant {variant.target}: {error}", error.remedy)
        installed = ", ".join(usable) or "none"
        msg = f"loading variant {variant.target}: it needs the runtime {variant.runtime}; installed here: {installed}"
        raise EngineError(msg, remedy=f"on the device: pip install 'shoal[{RUNTIME_WORDS[variant.runtime]}]'")
    if variant.format != RUNTIME_FORMATS[variant.runtime]:
        msg = (
            f"loading variant {variant.target}: format {variant.format} found for the runtime {variant.runtime}, "
            f"which runs {RUNTIME_FORMATS[variant.runtime]}"
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
