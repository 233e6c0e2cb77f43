"""A local file that is there whole, or as it was before."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in place of what was there, on the disk when this returns; folders above it are made.

    One process at a time writes a path. What it leaves when it is killed, the next attempt takes away.

    Raises:
        OSError: It can not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
