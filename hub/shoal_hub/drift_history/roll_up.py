"""Merges windows into hours and days: each window once, whatever ends the process and however late a window comes.

A step takes some windows that are not merged yet, works out what the rows of their hours and days come to, and writes
these together with the windows' marks in one transaction: all of it, or nothing.
"""

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import literal, tuple_
from sqlalchemy import select as select_columns
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, update

from shoal_hub.database import Database, in_parts
from shoal_hub.drift_history.plan import Change, RacedError, Rules, plan_change, write_change
from shoal_hub.drift_history.retention import Retention
from shoal_hub.drift_history.settings import HistorySettings
from shoal_hub.monitoring.tables import TO_ROLL_UP, WindowRow

log = logging.getLogger(__name__)

BATCH: Final = 1000
"""Windows of one transaction: the ingest writes beside it."""
STEP_S: Final = 1.0
"""After so long a step begins no other batch: the controller has more to do."""
_COLUMNS: Final = (
    "id",
    "device_id",
    "model",
    "version",
    "ended_at",
    "requests",
    "samples",
    "unsketched",
    "errors",
    "labelled",
    "correct",
    "features",
    "missing",
    "predictions",
    "confidence",
    "latency",
    "embedding",
)
Place = tuple[str, int, str, int]
"""Model, version, device and id of a window: the order in which they are taken."""


class RollUp:
    """Brings the history up to date with the windows. A chore of the controller.

    Args:
        database: Where both are.
        settings: How often, how long what is kept, and which cohorts there are.
    """

    def __init__(self, database: Database, settings: HistorySettings) -> None:
        self._database = database
        self._every = timedelta(seconds=settings.drift_roll_up_every_s)
        tags = tuple(tag.strip() for tag in settings.drift_cohort_tags.split(",") if tag.strip())
        self._rules = Rules(Retention.of(settings), tags, settings.drift_cohorts_max)
        self._done_at: datetime | None = None
        self._after: Place | None = None

    def step(self, now: datetime) -> int:
        """Merge some windows, and return how many: all that there are, or what a second suffices for."""
        if self._done_at is not None and abs(now - self._done_at) < self._every:
            return 0
        began_s, merged = time.monotonic(), 0
        while True:
            count = self._take_batch(now)
            merged += count or 0
            if count is not None and count < BATCH:
                # The round is over. Had it begun amid the streams, what came before is taken in the next one.
                self._done_at, self._after = now, None
            if count is None or count < BATCH or time.monotonic() - began_s >= STEP_S:
                return merged

    def _take_batch(self, now: datetime) -> int | None:
        """Merge the next windows, and return how many; None where another process was at them, too."""
        with self._database.session() as session:
            rows = _due(session, self._after)
            change = plan_change(session, rows, self._rules, now) if rows else Change()
        if not rows:
            return 0
        try:
            with self._database.transaction() as session:
                _mark(session, [row.id for row in rows])
                write_change(session, change, now)
        except (RacedError, IntegrityError) as error:
            log.info("windows are merged by another process as well: %s; it is tried again", error)
            return None
        last = rows[-1]
        self._after = (last.model, last.version, last.device_id, last.id)
        return len(rows)


def _due(session: Session, after: Place | None) -> Sequence[Any]:
    """Return the next windows that are not merged: those of one device together, as they change the same rows."""
    order = [col(getattr(WindowRow, name)) for name in ("model", "version", "device_id", "id")]
    columns: list[Any] = [col(getattr(WindowRow, name)) for name in _COLUMNS]
    wanted: Any = select_columns(*columns).where(TO_ROLL_UP).order_by(*order).limit(BATCH)
    if after is not None:
        wanted = wanted.where(tuple_(*order) > tuple_(*(literal(one) for one in after)))
    return session.connection().execute(wanted).all()


def _mark(session: Session, ids: Sequence[int]) -> None:
    """Mark windows as merged.

    Raises:
        RacedError: One of them is already, or is gone.
    """
    marked = 0
    for part in in_parts(ids):
        statement = update(WindowRow).where(col(WindowRow.id).in_(part), TO_ROLL_UP)
        done: Any = session.exec(statement.values(is_rolled_up=True), execution_options={"synchronize_session": False})
        marked += done.rowcount
    if marked != len(ids):
        raise RacedError(f"{marked} of {len(ids)} windows were still to be merged")
