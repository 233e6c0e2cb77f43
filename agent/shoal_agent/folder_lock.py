"""One process at a time works on a data folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from shoal_agent.errors import DiskError


@contextmanager
def only_one(data_dir: Path) -> Iterator[TextIO]:
    """Hold the data folder for the length of the block: two agents on one would corrupt it.

    Raises:
        DiskError: Another process holds it, or it is not there.
    """
    path = data_dir / "lock"
    try:
        file = path.open("w")
    except FileNotFoundError as error:
        message = f"taking the data folder {data_dir}: there is none, so no device is enrolled in it"
        raise DiskError(message, "run `shoal-agent enrol` with a token from `shoal tokens create`") from error
    except OSError as error:
        raise DiskError(f"locking the data folder {data_dir}: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"taking the data folder {data_dir}: another one uses it"
            raise DiskError(message, "stop it first, or use a folder of its own with --data") from error
        yield file
