"""Takes an uploaded bundle: its files into a folder, by names that stay in it."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fastapi import UploadFile

from shoal_hub.errors import InvalidInputError, TooLargeError
from shoal_hub.registry.bundle_files import check_file_name

_PREFIX: Final = "bundle-"
_LEFTOVER_S: Final = 3600.0
"""A folder this old belongs to a process that was killed: a bundle is looked into for minutes at most."""


@contextmanager
def uploaded_bundle(files: Sequence[UploadFile], folder: Path, max_json_bytes: int) -> Iterator[Path]:
    """Write uploaded files into a new folder under `folder`, which is gone after the block.

    Args:
        files: As they were sent.
        folder: Where the new folder is made.
        max_json_bytes: The largest description (`.json`) that is taken.

    Raises:
        InvalidInputError: A file is not one that a bundle has, or was sent twice.
        TooLargeError: A description (`.json`), which is read whole in the API's process, is larger than allowed.
    """
    names = [check_file_name(file.filename or "") for file in files]
    if len(set(names)) != len(names):
        raise InvalidInputError("registering a bundle: a file was sent twice", "send each file of the bundle once")
    for name, file in zip(names, files, strict=True):
        if name.endswith(".json") and (file.size or 0) > max_json_bytes:
            raise TooLargeError(
                f"registering a bundle: {name} has {file.size} bytes, of a description {max_json_bytes} are taken",
                "leave out what is not needed, or raise SHOAL_MAX_BODY_BYTES at the hub",
            )
    folder.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(folder)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder) as place:
        for name, file in zip(names, files, strict=True):
            path = Path(place) / name
            with path.open("wb") as out:
                shutil.copyfileobj(file.file, out)
        yield Path(place)


def _clear_leftovers(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):  # another request is as fast
            if path.stat().st_mtime < time.time() - _LEFTOVER_S:
                shutil.rmtree(path)
