"""Folders that are written to: made and tried before any work is done, and held by one process where that matters."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shoal_compression.errors import OutputError

_LOCK: Final = ".lock"


@contextmanager
def says_unwritable(folder: Path) -> Iterator[None]:
    """Let what can not be written into a folder say so.

    Raises:
        OutputError: The folder is none, may not be written, or the disk is full.
    """
    try:
        yield
    except BrokenPipeError:  # of whoever reads what is printed, and of no folder
        raise
    except OSError as error:
        raise OutputError(f"writing to {folder}: {error}; name a folder that can be written, with room") from error


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, and see that a file can be written into it.

    Raises:
        OutputError: It can not.
    """
    with says_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def held_alone(folder: Path) -> Iterator[bool]:
    """Hold a folder against other processes; gives False where another holds it. The end of a process lets go of it.

    Raises:
        OutputError: The folder can not be held.
    """
    with says_unwritable(folder):
        lock = (folder / _LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            found = f"holding {folder}: {error}"
            raise OutputError(f"{found}; name a folder on a disk of this machine") from error
        yield True
