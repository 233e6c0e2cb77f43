"""Where a process keeps what it counts: files in the data folder, which the API's process reads (docs/adr/0036).

A file has the name of its process and not its number, so that one that starts again counts on where it ended. Who
starts a process says so by its environment, as the counts are made while modules are imported.
"""

import fcntl
import logging
import os
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import prometheus_client.values
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from shoal_contract import __version__
from shoal_hub.counts_files import AllocatedDict, allocate, is_whole
from shoal_hub.counts_folder import FOLDER, NAME, SERVES, is_taken, lock_of, place_of

log = logging.getLogger(__name__)

_LIBRARY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus-client itself looks for the folder, each time that it makes a file."""
_MOST_ALIKE: Final = 80
"""Processes of one name that may count at a time: more than `SHOAL_MAX_JOBS` can be."""
_TRIES: Final = 3
_TRY_AGAIN_S: Final = 0.002
"""Who looks whether a place is taken holds its lock for a moment."""
_MARK_BYTES: Final = 64
_UNREADABLE: Final = (OSError, ValueError, RuntimeError, TypeError, AttributeError, KeyError, struct.error)
"""What the library raises over a file that is not whole."""
_locks: list[int] = []
"""Held for as long as this process lives."""


class _Processes(Collector):
    """Collects the counts of all processes; of the moment, only what those say that live.

    Args:
        folder: Where they count.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Return every family; a file that a power cut has spoilt is left out."""
        paths = [path for path in sorted(self._folder.glob("*.db")) if self._is_told(path)]
        try:
            return _merged(paths)
        except _UNREADABLE:
            return _merged([path for path in paths if is_whole(path)])

    def _is_told(self, path: Path) -> bool:
        return not path.name.startswith("gauge_live") or is_taken(self._folder, place_of(path))


def _merged(paths: list[Path]) -> Iterable[Metric]:
    found: Iterable[Metric] = MultiProcessCollector.merge(map(str, paths))  # type: ignore[no-untyped-call]  # left untyped
    return found


def processes_collector(of_this_process: CollectorRegistry) -> Collector:
    """Return what collects the counts of all processes; of this one, where it counts in memory."""
    return _Processes(Path(_folder)) if _folder else of_this_process


def note_serving() -> None:
    """Have it told that this process serves: one that ends at each start lives now and then, and never does."""
    for lock in _locks:
        _mark(lock, SERVES)


def end_set_up() -> None:
    """Have no process that this one starts count into the hub's files, as the library would by its variable."""
    if _folder:
        os.environ.pop(_LIBRARY, None)


def _set_up() -> tuple[str, str]:
    """Return the folder and the name that this process counts in and as; no folder where it does in memory."""
    folder, name = os.environ.pop(FOLDER, ""), os.environ.pop(NAME, "")
    if not folder or not name:
        return "", name or "hub"
    try:
        place = _open_place(Path(folder), name)
    except OSError as error:
        log.warning("keeping counts in %s: %s; %s counts in memory until it starts again", folder, error, name)
        return "", name
    os.environ[_LIBRARY] = folder
    prometheus_client.values.MmapedDict = AllocatedDict  # type: ignore[attr-defined]  # where it looks for the class
    in_files = prometheus_client.values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]
    prometheus_client.values.ValueClass = in_files
    return folder, name


def _open_place(folder: Path, name: str) -> str:
    """Return a place of this process's own, with files that can be written whatever becomes of the disk.

    Raises:
        OSError: There is no room for them.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    place, is_of_this_version = _take_place(folder, name)
    for path in folder.glob(f"*_{place}.db"):
        # What another version has counted may mean something else, and what cannot be read nobody could go on with.
        if not is_of_this_version or not is_whole(path):
            path.unlink(missing_ok=True)
    mark_process_dead(place, str(folder))  # type: ignore[no-untyped-call]  # what the one before knew of its connections
    allocate(folder, place)
    return place


def _take_place(folder: Path, name: str) -> tuple[str, bool]:
    """Return a place that no running process has, as two would overwrite each other's numbers; and if its files fit."""
    for number in range(1, _MOST_ALIKE + 1):
        place = name if number == 1 else f"{name}-{number}"
        lock = _lock(lock_of(folder, place))
        if lock is None:
            continue
        _locks.append(lock)
        before = os.pread(lock, _MARK_BYTES, 0).split()
        _mark(lock)
        return place, before[1:2] == [__version__.encode()]
    raise OSError(f"{_MOST_ALIKE} processes named {name} run already")


def _mark(lock: int, word: str = "") -> None:
    with suppress(OSError):  # a full disk: it is known that this process lives, but not its number
        os.pwrite(lock, f"{os.getpid()} {__version__} {word}".encode().ljust(_MARK_BYTES), 0)


def _lock(path: Path) -> int | None:
    """Return the lock's file, locked until it is closed; None if another process holds it."""
    for _ in range(_TRIES):
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except FileNotFoundError:  # it was removed before it was locked, as one that nobody holds
            pass
        except BlockingIOError:
            time.sleep(_TRY_AGAIN_S)
        os.close(lock)
    return None


_folder, PROCESS = _set_up()
"""Where this process counts, and its name among the hub's."""
