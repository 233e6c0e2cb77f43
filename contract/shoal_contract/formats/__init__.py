"""The file formats that devices take: ONNX, LiteRT, safetensors. A file's content decides which it is, never its name.

The hub's gate and the device's own check before loading are this one code, so neither can be talked into what the other
refuses. It reads headers and structure where they lie (bytes or a memory map) and copies no tensor.
"""

from shoal_contract.formats.identify import DeviceFormat, check_device_file
from shoal_contract.formats.limits import DEFAULT_LIMITS, RUNTIME_LIMITS, FileBytes, FormatError, FormatLimits

__all__ = [
    "DEFAULT_LIMITS",
    "RUNTIME_LIMITS",
    "DeviceFormat",
    "FileBytes",
    "FormatError",
    "FormatLimits",
    "check_device_file",
]
