"""What board this is, which runtimes are installed, and which compressed variants suit it best.

Reads a few small files under a root that is passed in; loads no runtime.
"""

import os
import platform
import re
from collections.abc import Collection
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Final

from shoal_contract.reported import RUNTIME_WORDS, Hardware, Runtime

_DEVICE_TREE_MODEL: Final = "proc/device-tree/model"
_L4T_RELEASE: Final = "etc/nv_tegra_release"
_MAX_FILE_BYTES: Final = 1024 * 1024
RUNTIME_MODULES: Final[dict[Runtime, tuple[str, ...]]] = {
    "litert": ("ai_edge_litert", "tflite_runtime"),
    "onnxruntime": ("onnxruntime",),
}
"""Modules that a runtime comes as, the first that works is used."""
_JETSON_FAMILIES: Final = ("thor", "orin", "xavier", "nano", "tx2", "tx1")
_GPUS: Final = ("dev/nvidiactl", "dev/nvhost-gpu", "dev/nvgpu", "dev/dxg")
"""Where a kernel shows a GPU of NVIDIA: a card, a Jetson before and since JetPack 6, a virtual machine of Windows."""


def available_runtimes(broken: Collection[str] = ()) -> tuple[Runtime, ...]:
    """Return the installed runtimes; none of them is imported.

    Args:
        broken: Modules that are installed and do not work on this board; see `shoal_agent.engines.RuntimeCheck`.
    """
    return tuple(runtime for runtime in RUNTIME_MODULES if module_of(runtime, broken))


def module_of(runtime: Runtime, broken: Collection[str] = ()) -> str | None:
    """Return the module that a runtime is installed as, but for broken ones; None where there is none."""
    return next((name for name in RUNTIME_MODULES[runtime] if name not in broken and find_spec(name)), None)


def has_gpu(root: Path = Path("/")) -> bool:
    """Whether the kernel shows a GPU that CUDA could use.

    Args:
        root: Where `dev` is looked for.
    """
    return any((root / name).exists() for name in _GPUS)


def fingerprint(hardware: Hardware) -> str:
    """Return what tells this kind of board from others, where what was built or measured on one does not hold."""
    parts = (hardware.kind, hardware.model, hardware.architecture, hardware.cores, hardware.l4t or "")
    return " ".join(str(part) for part in parts if part)


def detect(root: Path = Path("/")) -> Hardware:
    """Describe the board by what its kernel says.

    Args:
        root: Where `proc` and `etc` are looked for.
    """
    board = _read(root / _DEVICE_TREE_MODEL).rstrip("\0").strip()
    l4t = _l4t(_read(root / _L4T_RELEASE))
    cpuinfo = _read(root / "proc/cpuinfo")
    kind, model = "generic", board or _cpu_name(cpuinfo)
    if l4t is not None or "jetson" in board.lower():
        kind, model = "jetson", board or "NVIDIA Jetson"
    elif board.startswith("Raspberry Pi"):
        kind = "raspberry-pi"
    return Hardware.model_validate(
        {
            "kind": kind,
            "model": model[:128],
            "architecture": platform.machine()[:32] or "unknown",
            "cores": len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE)) or os.cpu_count() or 1,
            "memory_bytes": memory_bytes(root),
            "l4t": l4t,
        }
    )


def targets_for(hardware: Hardware, runtimes: tuple[Runtime, ...]) -> tuple[str, ...]:
    """Return the targets that a device can run, best first, such as `pi4-litert-int8`, `generic-litert-int8`.

    The faster precision comes before the closer device class: int8 for any board beats float32 for this very one.
    """
    precisions = ("fp16", "int8", "float32") if hardware.kind == "jetson" else ("int8", "float32")
    classes = tuple(dict.fromkeys((_device_class(hardware), "generic")))
    return tuple(
        f"{device_class}-{RUNTIME_WORDS[runtime]}-{precision}"
        for precision, device_class, runtime in product(precisions, classes, runtimes)
        if precision != "fp16" or (runtime == "onnxruntime" and device_class != "generic")
    )


def _device_class(hardware: Hardware) -> str:
    """Return the first part of a target: `pi4`, `pizero2`, `jetson-orin`, or `generic`."""
    if hardware.kind == "raspberry-pi":
        number = re.match(r"Raspberry Pi (?:Compute Module )?(\d+)", hardware.model)
        if number:
            return f"pi{number[1]}"
        return "pizero2" if hardware.model.startswith("Raspberry Pi Zero 2") else "generic"
    if hardware.kind == "jetson":
        name = hardware.model.lower()
        family = next((family for family in _JETSON_FAMILIES if family in name), None)
        return f"jetson-{family}" if family else "generic"
    return "generic"


def _l4t(release: str) -> str | None:
    """Return the L4T version of a line such as `# R36 (release), REVISION: 4.3, ...`: `36.4.3`."""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", release)
    return f"{match[1]}.{match[2]}" if match else None


def _cpu_name(cpuinfo: str) -> str:
    match = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else platform.machine() or "unknown"


def available_memory_bytes(root: Path = Path("/")) -> int | None:
    """Return what programs could still take without swapping, by the kernel's estimate; None where it makes none."""
    match = re.search(r"^MemAvailable:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def memory_bytes(root: Path = Path("/")) -> int:
    """Return the board's memory; 0 where the kernel does not tell."""
    return _memory_bytes(_read(root / "proc/meminfo"))


def _memory_bytes(meminfo: str) -> int:
    match = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _read(path: Path) -> str:
    """Return a small file's text; nothing where it cannot be read, as on most boards most of these are absent."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode(errors="replace")
    except OSError:
        return ""
