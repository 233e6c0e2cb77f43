"""Deletes windows whose time is over, a few at a time; what a running rollout or trial compares with stays.

So does what the history (`shoal_hub.drift_history`) does not hold yet. Quarantined ones go with them: of these there
are few. How many more there were is told here once their device stops.
"""

import logging
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, delete, or_, select

from shoal_hub.database import Database
from shoal_hub.monitoring.quarantine import tell_tallies
from shoal_hub.monitoring.tables import QuarantinedWindow, WindowRow
from shoal_hub.rollouts.gate import windows_needed as needed_by_rollouts
from shoal_hub.trials.effects import windows_needed as needed_by_trials

log = logging.getLogger(__name__)

BATCH: Final = 500
"""Windows of one transaction: the ingest writes beside it."""
BATCHES: Final = 10
"""Transactions of one step."""
LOOK_EVERY: Final = timedelta(minutes=1)
"""Between two looks, where the last one found less than a step takes."""


class WindowPruner:
    """Deletes windows that the hub has had for longer than it keeps them.

    Args:
        database: Where they are.
        retention: How long they are kept, by the hub's clock: a device's may be wrong.
    """

    def __init__(self, database: Database, retention: timedelta) -> None:
        self._database = database
        self._retention = retention
        self._looked_at: datetime | None = None

    def step(self, now: datetime) -> int:
        """Delete some of the windows whose time is over, the oldest first, and return how many."""
        if self._looked_at is not None and abs(now - self._looked_at) < LOOK_EVERY:
            return 0
        with self._database.session() as session:
            due = _due(session, now - self._retention)
        with self._database.transaction() as session:
            session.exec(delete(QuarantinedWindow).where(col(QuarantinedWindow.received_at) < now - self._retention))
            tell_tallies(session, now)
        for start in range(0, len(due), BATCH):
            with self._database.transaction() as session:
                session.exec(delete(WindowRow).where(col(WindowRow.id).in_(due[start : start + BATCH])))
        self._looked_at = now if len(due) < BATCH * BATCHES else None
        if due:
            log.info("%d windows are deleted: they were kept for their time", len(due))
        return len(due)


def _due(session: Session, before: datetime) -> list[int | None]:
    """Return which windows that came before a time are to be deleted now."""
    wanted = select(WindowRow.id).where(col(WindowRow.received_at) < before, col(WindowRow.is_rolled_up))
    needed: dict[str, datetime] = {}
    for model, since in (*needed_by_rollouts(session), *needed_by_trials(session)):
        needed[model] = min(since, needed.get(model, since))
    for model, since in needed.items():
        wanted = wanted.where(or_(col(WindowRow.model) != model, col(WindowRow.started_at) < since))
    return list(session.exec(wanted.order_by(col(WindowRow.received_at)).limit(BATCH * BATCHES)))
