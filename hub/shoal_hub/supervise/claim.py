"""Holds a data folder: one hub runs on it, and what would pull keys from under a running hub waits for its end."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal_hub.errors import HubError


class SupervisorError(HubError):
    """A hub runs on this data folder already."""

    code = "supervisor"


@contextmanager
def claimed(data: Path, doing: str) -> Iterator[None]:
    """Hold a data folder; the system lets go of it when this process ends, however that comes about.

    Args:
        data: The hub's data folder.
        doing: What is being done, for the message.

    Raises:
        SupervisorError: A hub runs on it.
    """
    run_dir = data / "run"
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (run_dir / "hub.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise SupervisorError(
                f"{doing}: a hub (pid {pid}) runs on {data}",
                "stop that one first, or set SHOAL_DATA to another folder",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
