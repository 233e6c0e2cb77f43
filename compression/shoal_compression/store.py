"""What recipes have made, on disk: a folder each under a key, which is there as a whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal_compression.output_folder import says_unwritable

_NEW: Final = ".new-"


@dataclass(frozen=True)
class Store:
    """Folders by key below a root. Any number of processes may share it; the first to finish a key stays."""

    root: Path

    def find(self, key: str) -> Path | None:
        """Return the folder of a key; None: it has not been finished."""
        folder = self.root / key
        return folder if folder.is_dir() else None

    def put(self, key: str, write: Callable[[Path], None]) -> Path:
        """Let `write` fill a new folder, and give it the key's name once everything is on the disk.

        Raises:
            OutputError: The root can not be written, or the disk is full; nothing is left of the new folder.
        """
        with says_unwritable(self.root):
            return self._put(key, write)

    def _put(self, key: str, write: Callable[[Path], None]) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        new = self.root / f"{_NEW}{os.getpid()}-{uuid.uuid4().hex}"
        new.mkdir()
        try:
            write(new)
            for path in sorted(new.iterdir()):
                _sync(path)
            _sync(new)
            try:
                new.rename(self.root / key)
            except OSError:
                if self.find(key) is None:  # otherwise another process was first
                    raise
            _sync(self.root)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return self.root / key

    def drop(self, key: str) -> None:
        """Remove a folder whose content is not what was written."""
        shutil.rmtree(self.root / key, ignore_errors=True)

    def clear_unfinished(self) -> None:
        """Remove what processes that are gone have left."""
        for path in self.root.glob(f"{_NEW}*") if self.root.is_dir() else ():
            if not _is_running(int(path.name.removeprefix(_NEW).split("-")[0])):
                shutil.rmtree(path, ignore_errors=True)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
