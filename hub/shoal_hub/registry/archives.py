"""Zip archives of a bundle, looked through before anything is unpacked: `.npz` of numbers, `.keras` of plain layers.

A `.keras` file is read by the hub's own compression and never reaches a device; what could run code or read a file
while Keras loads it is refused here, and Keras itself loads in its safe mode.
"""

import json
import math
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

import numpy as np

from shoal_hub.errors import InvalidInputError

_MAX_MEMBERS: Final = 10_000
_MAX_CONFIG_BYTES: Final = 16 * 2**20
_COPY_BYTES: Final = 1 << 20
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED: Final = 1
_KERAS_MEMBERS: Final = {"metadata.json", "config.json", "model.weights.h5"}
_CODE_LAYERS: Final = {"Lambda", "TorchModuleWrapper", "TFSMLayer", "FlaxLayer", "JaxLayer", "__lambda__"}
"""Layers that hold marshalled code or load a program; Keras' safe mode has let some of them pass in the past."""
_KERAS_MODULES: Final = re.compile(
    r"keras|builtins|(tf_)?keras\.(src\.)?(activations|constraints|dtype_policies|engine|initializers|layers|losses|metrics"
    r"|mixed_precision|models|ops|optimizers|quantizers|random|regularizers)(\.\w+)*"
)
"""Where plain parts of models come from; others of Keras load files, fetch them or switch its safe mode off."""
_FILE_KEYS: Final = {"vocabulary", "filepath", "vocabulary_file"}
"""Settings of layers that Keras reads a file for, if they are a path."""
_REMEDY: Final = "write the bundle again with the tool that made it; nothing in it may be code or lead to another file"
_NO_CODE: Final = (
    "replace the layer by ones of Keras itself, so that the file is data alone, and write the bundle again"
)


def check_npz(path: Path, max_unpacked_bytes: int) -> None:
    """Check that an `.npz` holds arrays of numbers that unpack to what they say, within the bound.

    Raises:
        InvalidInputError: It does not.
    """
    with _open(path, max_unpacked_bytes) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                _check_array(path, member, file)


def check_keras(path: Path, max_unpacked_bytes: int) -> None:
    """Check that a `.keras` archive is plain layers and weights.

    Raises:
        InvalidInputError: It has other members, layers of code, or weights that lie in another file.
    """
    with _open(path, max_unpacked_bytes) as archive:
        names = {member.filename for member in archive.infolist()}
        other = sorted(name for name in names - _KERAS_MEMBERS if not name.startswith("assets/"))
        if other or not names >= _KERAS_MEMBERS:
            raise _refuse(path, f"members {', '.join(sorted(names))[:200]} found, expected {', '.join(_KERAS_MEMBERS)}")
        if archive.getinfo("config.json").file_size > _MAX_CONFIG_BYTES:
            raise _refuse(path, f"its config.json has more than {_MAX_CONFIG_BYTES} bytes")
        try:
            config = json.loads(archive.read("config.json"))
        except (ValueError, RecursionError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise _refuse(path, "its config.json is not JSON") from error
        for part in _objects(config):
            _check_layer(path, part)
        with archive.open("model.weights.h5") as weights:
            _check_weights(path, weights, max_unpacked_bytes)


def _open(path: Path, max_unpacked_bytes: int) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _refuse(path, f"it is no zip archive ({error})") from error
    try:
        _check_members(path, archive.infolist(), max_unpacked_bytes)
    except InvalidInputError:
        archive.close()
        raise
    return archive


def _check_members(path: Path, members: list[zipfile.ZipInfo], max_unpacked_bytes: int) -> None:
    unpacked_bytes = sum(member.file_size for member in members)
    if len(members) > _MAX_MEMBERS or unpacked_bytes > max_unpacked_bytes:
        raise InvalidInputError(
            f"inspecting {path.name}: {len(members)} members of {unpacked_bytes} bytes unpacked; "
            f"at most {_MAX_MEMBERS} members of {max_unpacked_bytes} bytes are taken",
            "send less data, or raise SHOAL_MAX_UNPACKED_BYTES at the hub",
        )
    if len({member.filename for member in members}) != len(members):
        raise _refuse(path, "a member stands in it twice")
    for member in members:
        name = PurePosixPath(member.filename)
        is_inside = not name.is_absolute() and ".." not in name.parts and "\\" not in member.filename
        if not is_inside or member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
            raise _refuse(path, f"its member {member.filename[:80]!r} leads outside, is encrypted or of another method")


def _check_array(path: Path, member: zipfile.ZipInfo, file: IO[bytes]) -> None:
    """Hold an array's header against the member's size, before numpy makes room for what it says."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        header_bytes = file.tell()
    except (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise _refuse(
            path, f"its member {member.filename[:80]!r} is no array of numbers ({str(error)[:100]})"
        ) from error
    if dtype.hasobject:
        raise _refuse(path, f"its member {member.filename[:80]!r} holds pickled objects, which are code (allow_pickle)")
    if header_bytes + math.prod(shape) * dtype.itemsize != member.file_size:
        raise _refuse(path, f"its member {member.filename[:80]!r} declares {dtype}{shape} in {member.file_size} bytes")


def _objects(value: object) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _check_layer(path: Path, part: dict[str, Any]) -> None:
    name, module = str(part.get("class_name", "")), part.get("module")
    if name in _CODE_LAYERS:
        raise InvalidInputError(f"inspecting {path.name}: its layer {name} is code, which would run here", _NO_CODE)
    if "class_name" in part and not name.isidentifier():  # with a dot it would lead to another module
        raise InvalidInputError(f"inspecting {path.name}: its class {name[:80]!r} is no plain name", _NO_CODE)
    if "class_name" in part and module is not None and not _KERAS_MODULES.fullmatch(str(module)):
        msg = f"inspecting {path.name}: {name[:80]!r} would be imported from the module {str(module)[:80]!r}"
        raise InvalidInputError(msg, _NO_CODE)
    if module == "builtins" and name not in {"function", "type"}:
        msg = f"inspecting {path.name}: {name[:80]!r} would be taken from Python's builtins"
        raise InvalidInputError(msg, _NO_CODE)
    paths = [key for key in _FILE_KEYS if isinstance(part.get(key), str)]
    if paths:
        msg = f"inspecting {path.name}: its {paths[0]} {str(part[paths[0]])[:80]!r} would be read from this machine"
        raise InvalidInputError(msg, _REMEDY)


def _check_weights(path: Path, weights: IO[bytes], max_unpacked_bytes: int) -> None:
    """See that HDF5 links and data stay inside of the file: it can name other files for both."""
    import h5py

    with tempfile.TemporaryFile() as copy:
        while block := weights.read(_COPY_BYTES):
            copy.write(block)
        copy.seek(0)
        try:
            with h5py.File(copy, "r") as file:
                items = list(_walk(file))
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise _refuse(path, f"its weights are no HDF5 file ({str(error)[:100]})") from error
    outside = [name for name, size_bytes in items if size_bytes is None]
    if outside:
        raise _refuse(path, f"its weights {outside[0][:80]!r} lie in another file")
    unpacked_bytes = sum(size_bytes or 0 for _, size_bytes in items)
    if unpacked_bytes > max_unpacked_bytes:
        raise _refuse(path, f"its weights unpack to {unpacked_bytes} bytes, at most {max_unpacked_bytes} are taken")


def _walk(file: Any) -> Iterator[tuple[str, int | None]]:  # noqa: ANN401 - h5py has no types
    """Yield the data sets of an HDF5 file with their size in bytes; no size where a link or the data lead elsewhere."""
    import h5py

    waiting, seen = [file], {file.id}
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                yield f"{group.name}/{name}", None
                continue
            item = group[name]
            if isinstance(item, h5py.Dataset):
                yield item.name, None if item.external or item.is_virtual else item.nbytes
            elif isinstance(item, h5py.Group) and item.id not in seen:
                seen.add(item.id)
                waiting.append(item)


def _refuse(path: Path, found: str) -> InvalidInputError:
    return InvalidInputError(f"inspecting {path.name}: {found}", _REMEDY)
