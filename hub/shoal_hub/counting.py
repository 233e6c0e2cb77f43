"""Where a process keeps what it counts: files in the data folder, which the API's process reads (docs/adr/0036).

A file has the name of its process and not its number, so that one that starts again counts on where it ended. Who
starts a process says so by its environment, as the counts are made while modules are imported.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

import prometheus_client.values
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from shoal_hub.counts_folder import FOLDER, NAME, counts_folder

_LIBRARY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus-client itself looks for the folder, each time that it makes a file."""
_MOST_ALIKE: Final = 80
"""Processes of one name that may count at a time: more than `SHOAL_MAX_JOBS` can be."""
_locks: list[int] = []
"""Held for as long as this process lives."""


def note_ended(data: Path, name: str) -> None:
    """Forget what a process that has ended said of the moment; what it has counted stays."""
    mark_process_dead(name, str(counts_folder(data)))  # type: ignore[no-untyped-call]  # the library leaves it untyped


def processes_collector(of_this_process: CollectorRegistry) -> Collector:
    """Return what collects the counts of all processes; of this one, where it counts in memory."""
    if not _folder:
        return of_this_process
    return MultiProcessCollector(None, _folder)  # type: ignore[no-untyped-call]


def end_set_up() -> None:
    """Have no process that this one starts count into the hub's files, as the library would by its variable."""
    if _folder:
        os.environ.pop(_LIBRARY, None)


def _set_up() -> tuple[str, str]:
    """Return the folder and the name that this process counts in and as; none and `hub` where it does in memory."""
    folder, name = os.environ.pop(FOLDER, ""), os.environ.pop(NAME, "")
    if not folder or not name:
        return "", "hub"
    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    place = _take_place(Path(folder), name)
    mark_process_dead(place, folder)  # type: ignore[no-untyped-call]  # what the one before knew of its connections
    os.environ[_LIBRARY] = folder
    in_files = prometheus_client.values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]
    prometheus_client.values.ValueClass = in_files
    return folder, name


def _take_place(folder: Path, name: str) -> str:
    """Return the name of files that no running process counts into: two would overwrite each other's numbers."""
    for number in range(1, _MOST_ALIKE + 1):
        place = name if number == 1 else f"{name}-{number}"
        lock = os.open(folder / f"{place}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        _locks.append(lock)
        return place
    raise OSError(f"keeping counts in {folder}: {_MOST_ALIKE} processes named {name} run already")


_folder, PROCESS = _set_up()
"""Where this process counts, and its name among the hub's."""
