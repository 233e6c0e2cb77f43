"""Lets alerts that are over, deliveries that have ended and silences go when they were kept for their time."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel import Session, col, delete, select

from shoal_hub.alerts.tables import AlertDelivery, AlertRow, AlertSilence
from shoal_hub.database import Database

BATCH: Final = 500
"""Rows of each kind that one step deletes."""
LOOK_EVERY: Final = timedelta(minutes=10)


class AlertPruner:
    """Deletes what is over.

    Args:
        database: Where it is.
        retention: How long it is kept.
    """

    def __init__(self, database: Database, retention: timedelta) -> None:
        self._database = database
        self._retention = retention
        self._looked_at: datetime | None = None

    def step(self, now: datetime) -> int:
        """Delete some of what is over, and return how much."""
        if self._looked_at is not None and abs(now - self._looked_at) < LOOK_EVERY:
            return 0
        self._looked_at = now
        with self._database.session() as session:
            due = _due(session, now - self._retention)
        count = sum(len(ids) for ids in due.values())
        if count:
            with self._database.transaction() as session:
                for table, ids in due.items():
                    session.exec(delete(table).where(col(table.id).in_(ids)))
        return count


def _due(session: Session, before: datetime) -> dict[Any, list[str]]:
    is_over: dict[Any, Any] = {
        AlertRow: col(AlertRow.resolved_at) < before,
        AlertDelivery: (col(AlertDelivery.created_at) < before) & (col(AlertDelivery.state) != "queued"),
        AlertSilence: col(AlertSilence.ends_at) < before,
    }
    return {table: list(session.exec(select(table.id).where(over).limit(BATCH))) for table, over in is_over.items()}
