"""One SQLite file that this process alone has open; one that is damaged is put aside, and a new one takes its place."""

import sqlite3
from contextlib import closing
from logging import getLogger
from pathlib import Path
from typing import Literal

from shoal_agent.errors import DiskError

_log = getLogger(__name__)


def open_sqlite(path: Path, schema: str, synchronous: Literal["FULL", "NORMAL"], lost: str) -> sqlite3.Connection:
    """Open a file, or a new one where it is damaged.

    Args:
        path: The file; its folder is there.
        schema: Makes the tables that are missing.
        synchronous: `FULL`: what was committed outlives a power cut; `NORMAL`: the last commits may not, the file does.
        lost: What it means that a damaged file was put aside, for the log.

    Raises:
        DiskError: The disk does not take a new one either, or another process has it open.
    """
    try:
        return _connect(path, schema, synchronous)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, full or not writable: the file itself may be whole
            message = f"opening {path}: {error}"
            raise DiskError(message, "check that no other agent uses it, its owner, and the disk's space") from error
        _log.error("%s is damaged (%s) and was put aside; %s", path, error, lost)
        path.replace(path.with_name(f"{path.name}.damaged"))
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _connect(path, schema, synchronous)


def _connect(path: Path, schema: str, synchronous: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        # Without it SQLite shares the log's index in a file of its own, and on a full disk the agent would not start.
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(f"PRAGMA synchronous={synchronous}")
        database.executescript(schema)
        with closing(database.execute("PRAGMA quick_check(1)")) as check:
            if check.fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("its quick check fails")
    except sqlite3.Error:
        database.close()
        raise
    return database
