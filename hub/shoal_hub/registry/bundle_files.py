"""The files of a bundle on their way in: which are taken, and how they come back out of the artifact store.

Devices run data, never code: what could run code while it loads is refused by name and by content.
"""

from pathlib import Path
from typing import Final

from shoal_contract.ids import NAME_PATTERN
from shoal_hub.errors import InvalidInputError
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.tables import Version

_MAGIC: Final[dict[str, tuple[int, bytes]]] = {
    ".json": (0, b""),
    ".onnx": (0, b""),
    ".keras": (0, b"PK\x03\x04"),
    ".npz": (0, b"PK\x03\x04"),
    ".tflite": (4, b"TFL3"),
    ".safetensors": (8, b"{"),
}
"""What the bytes of each format begin with, and where; ONNX and JSON have no mark and are parsed later."""
_PICKLES: Final = {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".npy", ".bin", ".ckpt", ".h5", ".hdf5"}
_PICKLE_STARTS: Final = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_REMEDY: Final = "export the model as ONNX, LiteRT, Keras (.keras) or safetensors, and write the bundle again"


def check_file_name(name: str) -> str:
    """Return the name of a bundle's file, if it is one that the registry takes.

    Raises:
        InvalidInputError: It leads out of the folder, or its format is not taken; the reason is told.
    """
    import re

    suffix = Path(name).suffix.lower()
    if suffix in _PICKLES:
        msg = (
            f"registering {name[:80]}: files of this kind can hold pickled code, which would run where they are opened"
        )
        raise InvalidInputError(msg, _REMEDY)
    if suffix not in _MAGIC or not re.fullmatch(NAME_PATTERN, name):
        msg = f"registering {name[:80]!r}: not a file that a bundle has; known are *{', *'.join(_MAGIC)}"
        raise InvalidInputError(msg, _REMEDY)
    return name


def check_file_content(path: Path) -> None:
    """Check that a file is of the format that its name says, as far as its first bytes tell.

    Raises:
        InvalidInputError: It is empty, a pickle under another name, or not of its format.
    """
    with path.open("rb") as file:
        head = file.read(16)
    offset, magic = _MAGIC[path.suffix.lower()]
    if head.startswith(_PICKLE_STARTS):
        raise InvalidInputError(f"registering {path.name}: it is a pickle, which is code, under another name", _REMEDY)
    if not head or head[offset : offset + len(magic)] != magic:
        raise InvalidInputError(
            f"registering {path.name}: its content is not of the format that its name says", _REMEDY
        )


def restore_bundle(store: ArtifactStore, version: Version, folder: Path) -> None:
    """Write a version's bundle, checked against its hashes, into a new or empty folder.

    Raises:
        ArtifactError: A file is missing from the store, or damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, sha256 in version.files.items():
        store.copy_to(sha256, folder / name)
