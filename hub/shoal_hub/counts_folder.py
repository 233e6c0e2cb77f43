"""Where the hub's processes keep what they count, who counts there now, and the variables by which one is told to.

Each process has a place: files named after it, and a lock that it holds for as long as it lives. A lock cannot stay
behind, as a number of a process can; what is written in it is that number, the version that counts, and if it serves.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = "SHOAL_COUNTS_DIR"
NAME: Final = "SHOAL_COUNTS_AS"
SERVES: Final = "serves"
"""The last word in the lock of a process that has begun to serve."""


class Place(NamedTuple):
    """One process's files: `ingest`, or `ingest-2` of a second one; whether it lives and serves, and its number."""

    name: str
    is_serving: bool
    pid: int | None

    @property
    def process(self) -> str:
        """What the process is: `ingest`."""
        return self.name.partition("-")[0]


def counts_folder(data: Path) -> Path:
    """Return where the processes of a hub keep what they count."""
    return data / "run" / "counts"


def counts_environment(data: Path, name: str) -> dict[str, str]:
    """Return the variables by which a process keeps what it counts.

    Args:
        data: The hub's data folder.
        name: `api`, `ingest`, `controller` or `job`. Of several of one name each has files of its own.
    """
    return {FOLDER: str(counts_folder(data)), NAME: name}


def lock_of(folder: Path, place: str) -> Path:
    """Return the file that a process locks for as long as it counts there."""
    return folder / f"{place}.lock"


def place_of(path: Path) -> str:
    """Return the place of a file of counts: the library puts the kind and an underscore before it."""
    return path.stem.rpartition("_")[2]


def is_taken(folder: Path, place: str) -> bool:
    """Whether a process that lives counts there."""
    try:
        lock = os.open(lock_of(folder, place), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def places(folder: Path) -> Iterator[Place]:
    """Yield every place that a process has taken since the hub was started, or is meant to."""
    for path in sorted(folder.glob("*.lock")):
        if is_taken(folder, path.stem):
            words = _mark_in(path)
            # No mark: a full disk had no room for it. That a process lives is known all the same.
            pid = int(words[0]) if words and words[0].isdecimal() else None
            yield Place(path.stem, is_serving=not words or words[-1] == SERVES, pid=pid)
        else:
            yield Place(path.stem, is_serving=False, pid=None)


def forget_counts(data: Path, meant: Iterable[str] = ()) -> None:
    """Begin all counts at zero, but those of jobs that outlived the hub before: they count on where they are.

    Args:
        data: The hub's data folder.
        meant: Processes that this machine is to run: of each it is told whether it does.
    """
    folder = counts_folder(data)
    for path in [*folder.glob("*.db"), *folder.glob("*.lock")]:
        if not is_taken(folder, place_of(path)):
            path.unlink(missing_ok=True)
    with suppress(OSError):  # a full disk: each process makes its own, or is not told of
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in meant:
            lock_of(folder, name).touch(mode=0o600)


def _mark_in(lock: Path) -> list[str]:
    try:
        return lock.read_text().split()
    except (OSError, ValueError):
        return []
