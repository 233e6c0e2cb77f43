"""Where TensorRT keeps the engines that it has built, which take minutes to build on a board.

An engine fits the hardware, the runtime's version and the model's file that it was built for: each has a folder of its
own. What nobody has used for longest goes first when they take too much.
"""

import hashlib
import os
import shutil
from logging import getLogger
from pathlib import Path

_log = getLogger(__name__)


class EngineCache:
    """`<folder>/<board and runtime>/<model's hash>/`.

    Args:
        folder: Of the cache.
        fits: What engines depend on besides the model: the board, and the versions of what builds them.
        most_bytes: What they may take together; those of this process's models are kept whatever they take.
    """

    def __init__(self, folder: Path, fits: str, most_bytes: int) -> None:
        self._folder = folder
        self._own = folder / hashlib.sha256(fits.encode()).hexdigest()[:16]
        self._most_bytes = most_bytes
        self._used: set[str] = set()

    def folder_for(self, sha256: str) -> Path | None:
        """Return the folder of a model's engines, which counts as used now; None where none can be kept.

        Args:
            sha256: Of the model's file. It must be one that may lie on the disk as it is.
        """
        if self._most_bytes <= 0:
            return None
        folder = self._own / sha256
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(folder)
        except OSError as error:
            _log.warning("keeping TensorRT's engines in %s: %s; they are built at each start", folder, error)
            return None
        self._used.add(sha256)
        return folder

    def prune(self) -> None:
        """Delete what was built for another board or runtime, then the longest unused until the rest fits."""
        try:
            for other in self._folder.iterdir():
                if other != self._own:
                    shutil.rmtree(other, ignore_errors=True)
            found = sorted(self._own.iterdir(), key=lambda one: one.stat().st_mtime)
        except OSError:  # nothing has been built yet
            return
        sizes = {folder: _size_bytes(folder) for folder in found}
        for folder in found:
            if sum(sizes.values()) <= self._most_bytes:
                return
            if folder.name not in self._used:
                shutil.rmtree(folder, ignore_errors=True)
                del sizes[folder]


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
