"""One controller at a time: elected by a lock, fenced by a number.

The lock says who may begin: an advisory lock of PostgreSQL, which the server lets go of with the connection, or a
file's lock where the database is a file. The number says who may still write: each elected controller raises it, and
every transaction of a controller checks that it is still its own, under a shared lock on the row. So one that was cut
off and comes back cannot commit anything after its follower has begun.
"""

import fcntl
import logging
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, select

from shoal_hub.controller.tables import ControllerFence
from shoal_hub.database import AdvisoryLock, Database
from shoal_hub.errors import HubError

log = logging.getLogger(__name__)


class FencedError(HubError):
    """Another controller has taken over."""

    code = "fenced"


class Election:
    """This controller's place in the election.

    Args:
        database: The controller's own; from the election on each of its transactions is checked.
        lock_path: The lock where the database is a file.
    """

    def __init__(self, database: Database, lock_path: Path) -> None:
        self._database = database
        self._lock_path = lock_path
        self._connection: Connection | None = None
        self._file: IO[str] | None = None
        self._number = 0

    def stand(self) -> bool:
        """Try to be elected; return whether this controller is in charge now."""
        if not (self._lock_server() if self._is_server else self._lock_file()):
            return False
        with self._database.transaction() as session:
            fence = session.get_one(ControllerFence, 1, with_for_update=True)
            fence.number += 1
            self._number = fence.number
        self._database.check = self._check
        return True

    def confirm(self) -> None:
        """Make sure that the lock is still held.

        Raises:
            FencedError: The connection that held it is gone: another controller may have begun.
        """
        if self._connection is None:
            return
        try:
            self._connection.execute(text("SELECT 1"))
            self._connection.commit()
        except SQLAlchemyError as error:
            raise FencedError(
                "the controller's connection to the database is gone, and its lock with it",
                "it stands for election again",
            ) from error

    def resign(self) -> None:
        """Let another controller begin."""
        self._database.check = None
        if self._connection is not None:
            self._unlock(self._connection)
            self._connection = None
        if self._file is not None:
            self._file.close()
            self._file = None

    @staticmethod
    def _unlock(connection: Connection) -> None:
        """Give the lock back now: the server's session ends only a while after its connection is closed."""
        try:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": AdvisoryLock.CONTROLLER})
        except SQLAlchemyError as error:
            log.info("the controller's lock has gone with its connection to the database: %s", error)
        connection.invalidate()  # so that, whatever came of that, no session of the pool holds it
        connection.close()

    @property
    def _is_server(self) -> bool:
        return self._database.engine.dialect.name == "postgresql"

    def _lock_server(self) -> bool:
        connection = self._database.engine.connect()
        is_mine: bool = connection.execute(
            text("SELECT pg_try_advisory_lock(:key)"), {"key": AdvisoryLock.CONTROLLER}
        ).scalar_one()
        connection.commit()
        if is_mine:
            self._connection = connection
        else:
            connection.close()
        return is_mine

    def _lock_file(self) -> bool:
        self._lock_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._lock_path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def _check(self, session: Session) -> None:
        found = session.exec(select(ControllerFence.number).with_for_update(read=True)).one()
        if found != self._number:
            raise FencedError(
                f"this controller was elected as number {self._number}, number {found} is in charge now",
                "it stands for election again",
            )
