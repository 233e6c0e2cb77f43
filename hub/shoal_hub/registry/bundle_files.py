"""The files of a bundle on their way in: which are taken, and how they come back out of the artifact store.

Devices run data, never code: what is code by its name is refused here, what is by its content in the gate.
"""

import re
from pathlib import Path
from typing import Final

from shoal_contract.ids import NAME_PATTERN
from shoal_hub.errors import InvalidInputError
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.tables import Version

_SUFFIXES: Final = (".json", ".onnx", ".keras", ".npz", ".tflite", ".safetensors")
_PICKLES: Final = {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".npy", ".bin", ".ckpt", ".h5", ".hdf5"}
_REMEDY: Final = "export the model as ONNX, LiteRT, Keras (.keras) or safetensors, and write the bundle again"


def check_file_name(name: str) -> str:
    """Return the name of a bundle's file, if it is one that the registry takes.

    Raises:
        InvalidInputError: It leads out of the folder, or its format is not taken; the reason is told.
    """
    suffix = Path(name).suffix.lower()
    if suffix in _PICKLES:
        msg = (
            f"registering {name[:80]}: files of this kind can hold pickled code, which would run where they are opened"
        )
        raise InvalidInputError(msg, _REMEDY)
    if suffix not in _SUFFIXES or not re.fullmatch(NAME_PATTERN, name):
        msg = f"registering {name[:80]!r}: not a file that a bundle has; known are *{', *'.join(_SUFFIXES)}"
        raise InvalidInputError(msg, _REMEDY)
    return name


def restore_bundle(store: ArtifactStore, version: Version, folder: Path) -> None:
    """Write a version's bundle, checked against its hashes, into a new or empty folder.

    Raises:
        ArtifactError: A file is missing from the store, or damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, sha256 in version.files.items():
        store.copy_to(sha256, folder / name)
