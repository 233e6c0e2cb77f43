"""The gate before the artifact store: every file of a bundle and every variant passes it, by its content."""

import mmap
from pathlib import Path

from shoal_contract.formats import DeviceFormat, FormatError, check_device_file
from shoal_hub.errors import InvalidInputError
from shoal_hub.registry.archives import check_keras, check_npz
from shoal_hub.registry.limits import BundleLimits

_DEVICE_FORMATS: dict[str, DeviceFormat] = {".onnx": "onnx", ".tflite": "tflite", ".safetensors": "safetensors"}


def check_bundle_file(path: Path, limits: BundleLimits) -> None:
    """Check that a file is what its name says, and data alone. JSON is parsed where it is used.

    Raises:
        InvalidInputError: It is not; the reason is told.
    """
    suffix = path.suffix.lower()
    if suffix in _DEVICE_FORMATS:
        check_for_devices(path, _DEVICE_FORMATS[suffix], limits)
    elif suffix == ".npz":
        check_npz(path, limits.max_unpacked_bytes)
    elif suffix == ".keras":
        check_keras(path, limits.max_unpacked_bytes)


def check_for_devices(path: Path, expected: DeviceFormat, limits: BundleLimits) -> None:
    """Check a file that devices may load.

    Raises:
        InvalidInputError: It is of another format, or asks for more than its own bytes.
    """
    if path.stat().st_size == 0:
        raise InvalidInputError(f"inspecting {path.name}: it is empty", "write the bundle again")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            check_device_file(data, expected, limits.formats)
    except FormatError as error:
        raise InvalidInputError(f"inspecting {path.name}: {error}", error.remedy) from error
