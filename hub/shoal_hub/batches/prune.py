"""Lets answers of batch jobs go that the hub has had for its time; how the jobs ended stays."""

import logging
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import col, select

from shoal_hub.batches.tables import BatchDevice
from shoal_hub.captures.kept import remove_unnamed
from shoal_hub.database import Database
from shoal_hub.registry.artifacts import ArtifactStore

log = logging.getLogger(__name__)

BATCH: Final = 200
"""Answers that are deleted in one transaction."""
LOOK_EVERY: Final = timedelta(minutes=1)


class AnswerPruner:
    """Deletes answers whose time is over.

    Args:
        database: Where their rows are.
        store: Where their bytes are.
        retention: How long they are kept after their job ended, by the hub's clock.
    """

    def __init__(self, database: Database, store: ArtifactStore, retention: timedelta) -> None:
        self._database = database
        self._store = store
        self._retention = retention
        self._looked_at: datetime | None = None

    def step(self, now: datetime) -> int:
        """Delete some of the answers whose time is over, and return how many."""
        if self._looked_at is not None and abs(now - self._looked_at) < LOOK_EVERY:
            return 0
        self._looked_at = now
        due = select(BatchDevice).where(col(BatchDevice.is_stored), col(BatchDevice.ended_at) < now - self._retention)
        with self._database.session() as session:
            if session.exec(due.limit(1)).first() is None:
                return 0
        with self._database.transaction() as session:
            rows = session.exec(due.limit(BATCH)).all()
            for row in rows:
                row.is_stored = False
                session.add(row)
            session.flush()
            remove_unnamed(session, self._store, {row.result_sha256 for row in rows if row.result_sha256})
        log.info("answers of batch jobs of %d devices are deleted: they were kept for their time", len(rows))
        return len(rows)
