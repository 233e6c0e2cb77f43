"""Ends the runs of trainings whose job has ended without a word to them: cancelled in the queue, killed, given up."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlmodel import col, select

from shoal_hub.audit.actor import CONTROLLER
from shoal_hub.audit.record import record
from shoal_hub.database import Database
from shoal_hub.jobs.tables import ENDED, Job
from shoal_hub.tracking.experiments import to_ms
from shoal_hub.tracking.runs import set_run_tags, update_run
from shoal_hub.tracking.tables import RunStatus, TrackedRun
from shoal_hub.training.start import KIND, SUBJECT

_EVERY_S: Final = 10.0
"""Between two looks."""
_OPEN: Final[tuple[RunStatus, ...]] = ("SCHEDULED", "RUNNING")
_STATUS: Final[dict[str, RunStatus]] = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


class TrainingEnds:
    """One chore of the controller.

    Args:
        database: Where jobs and runs are.
        clock: Seconds that only go forward.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._next_s = float("-inf")

    def step(self, now: datetime) -> int:
        """End those runs if it is time to look, as their jobs have ended, and return how many there were."""
        if self._clock() < self._next_s:
            return 0
        self._next_s = self._clock() + _EVERY_S
        wanted = (
            select(TrackedRun.id, Job.state, Job.error, Job.ended_at)
            .join(Job, col(Job.subject) == SUBJECT + col(TrackedRun.id))
            .where(Job.kind == KIND, col(Job.state).in_(ENDED), col(TrackedRun.status).in_(_OPEN))
        )
        with self._database.session() as session:
            found = session.exec(wanted).all()
        for run_id, state, error, ended_at in found:
            with self._database.transaction() as session:
                row = session.get_one(TrackedRun, run_id, with_for_update=True)
                if row.status in _OPEN:
                    told = {"state": row.status}, {"state": _STATUS[state]}
                    record(session, CONTROLLER, "training.end", f"{SUBJECT}{run_id}", *told)
                    update_run(session, row, status=_STATUS[state], ended_ms=to_ms(ended_at or now), name=None)
                    set_run_tags(session, row, {"shoal.error": error} if error else {})
        return len(found)
