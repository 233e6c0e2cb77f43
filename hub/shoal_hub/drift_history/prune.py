"""Deletes hours, days and scores whose time is over, a few at a time."""

import logging
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, delete

from shoal_hub.database import Database
from shoal_hub.drift_history.retention import Retention
from shoal_hub.drift_history.tables import DeviceDays, DriftPeriod, Scope, Span

log = logging.getLogger(__name__)

BATCH: Final = 500
"""Rows of one transaction."""
BATCHES: Final = 10
"""Transactions of one step."""
LOOK_EVERY: Final = timedelta(minutes=5)
"""Between two looks, where the last one found less than a step takes."""
_KINDS: Final[tuple[tuple[Span, Scope], ...]] = tuple(
    (span, scope) for span in ("hour", "day") for scope in ("fleet", "group", "tag", "device")
)


class HistoryPruner:
    """Lets go of the history what was kept for its time. A chore of the controller."""

    def __init__(self, database: Database, retention: Retention) -> None:
        self._database = database
        self._retention = retention
        self._looked_at: datetime | None = None

    def step(self, now: datetime) -> int:
        """Delete some of what is due, and return how many rows."""
        if self._looked_at is not None and abs(now - self._looked_at) < LOOK_EVERY:
            return 0
        deleted = 0
        for _ in range(BATCHES):
            count = self._delete_some(now)
            deleted += count
            if count < BATCH:
                self._looked_at = now
                break
        if deleted:
            log.info("%d rows of the history of drift are deleted: they were kept for their time", deleted)
        return deleted

    def _delete_some(self, now: datetime) -> int:
        with self._database.session() as session:
            periods, blocks = self._due(session, now)
        if periods or blocks:
            with self._database.transaction() as session:
                session.exec(delete(DriftPeriod).where(col(DriftPeriod.id).in_(periods)))
                session.exec(delete(DeviceDays).where(col(DeviceDays.id).in_(blocks)))
        return len(periods) + len(blocks)

    def _due(self, session: Session, now: datetime) -> tuple[list[int], list[int]]:
        periods: list[int] = []
        for span, scope in _KINDS:
            wanted: Any = select_columns(col(DriftPeriod.id)).where(
                col(DriftPeriod.span) == span,
                col(DriftPeriod.scope) == scope,
                col(DriftPeriod.started_at) <= self._retention.oldest(span, scope, now),
            )
            periods += session.connection().execute(wanted.limit(BATCH - len(periods))).scalars()
            if len(periods) >= BATCH:
                return periods, []
        oldest = self._retention.oldest("day", "fleet", now)
        wanted = select_columns(col(DeviceDays.id)).where(col(DeviceDays.started_at) <= oldest)
        return periods, list(session.connection().execute(wanted.limit(BATCH - len(periods))).scalars())
