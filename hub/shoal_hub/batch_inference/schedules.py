"""Begins runs whose time has come: one of the controller's chores.

Sources are asked whether they have changed in a thread: a store that answers slowly holds nothing up.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from shoal_hub.audit.actor import CONTROLLER
from shoal_hub.audit.record import record
from shoal_hub.batch_inference.allowed import check_files, files_folder
from shoal_hub.batch_inference.due import NEW_DATA, due, is_found_first, seen_now
from shoal_hub.batch_inference.facts import read_facts
from shoal_hub.batch_inference.runs import SUBJECT, begin_run, open_run
from shoal_hub.batch_inference.tables import BatchInferenceRow
from shoal_hub.controller.election import FencedError
from shoal_hub.database import Database
from shoal_hub.errors import HubError
from shoal_hub.events.record import record_event
from shoal_hub.settings import Settings
from shoal_training.batch_inference.definition import BatchInference
from shoal_training.batch_inference.reading import parse_inference
from shoal_training.batch_inference.schedule import Schedule
from shoal_training.errors import TrainingError
from shoal_training.ingestion.source import Reading

log = logging.getLogger(__name__)

BY: Final = "schedule"


class _Asked(NamedTuple):
    """A look at a source."""

    definition: BatchInference
    """That it is of: of one that is set anew, nothing was asked yet."""
    at_s: float
    answer: Future[str | None]


class InferenceSchedules:
    """Looks at the schedules of batch inferences.

    Args:
        database: Where they are.
        settings: The hub's.
        clock: Seconds that only go forward.
    """

    def __init__(self, database: Database, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._settings, self._clock = database, settings, clock
        self._looked_s: float | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="inference-sources")
        self._asked: dict[str, _Asked] = {}

    def step(self, now: datetime) -> int:
        """Look at all schedules if it is time to, and return how many runs that began."""
        at_s = self._clock()
        if self._looked_s is not None and at_s - self._looked_s < self._settings.inference_look_s:
            return 0
        self._looked_s = at_s
        with self._database.session() as session:
            names = session.exec(
                select(BatchInferenceRow.name).where(col(BatchInferenceRow.is_enabled)).order_by(BatchInferenceRow.name)
            ).all()
        self._asked = {name: self._asked[name] for name in names if name in self._asked}
        begun = 0
        for name in names:
            try:
                begun += self._look_at(name, now)
            except FencedError:
                raise
            except (SQLAlchemyError, HubError, TrainingError):
                log.exception("looking at the schedule of %s failed; it is looked at again", name)
        return begun

    def _look_at(self, name: str, now: datetime) -> bool:
        with self._database.session() as session:
            row = session.get(BatchInferenceRow, name)
            definition = None if row is None else parse_inference(row.text)
            if row is None or definition is None or definition.schedule is None or open_run(session, name) is not None:
                return False
            fingerprint = self._fingerprint(name, definition, definition.schedule)
            facts = read_facts(session, row, definition, definition.schedule, fingerprint)
        reason = due(definition.schedule, facts, now)
        if not reason and not is_found_first(facts):
            return False
        with self._database.transaction() as session:
            row = session.get_one(BatchInferenceRow, name, with_for_update=True)
            if not reason:
                row.seen = {**row.seen, NEW_DATA: fingerprint}
                session.add(row)
                return False
            # Noted whether or not it can begin: what can not is told once, and not at each look.
            row.since, row.seen = now, seen_now(definition.schedule, facts)
            session.add(row)
            return self._begin(session, row, reason, now)

    def _begin(self, session: Session, row: BatchInferenceRow, reason: str, now: datetime) -> bool:
        try:
            run = begin_run(session, row, by=BY, reason=reason, now=now)
        except HubError as error:
            text = f"batch inference {row.name} was to run {reason}, and can not: {error}"
            record_event(session, "batch_inference_failed", text, subject=f"{SUBJECT}{row.name}", severity="error")
            return False
        record(
            session,
            CONTROLLER,
            "batch_inference.begin",
            f"{SUBJECT}{row.name}/runs/{run.id}",
            {},
            {"reason": reason, "version": run.number},
        )
        return True

    def _fingerprint(self, name: str, definition: BatchInference, schedule: Schedule) -> str | None:
        """Return the source's fingerprint if a thread has found it; ask for it where it is time to."""
        every_s = min((one.look_s for one in schedule.events if one.kind == "new_data"), default=None)
        if every_s is None:
            return None
        asked = self._asked.get(name)
        if asked is None or asked.definition != definition:
            self._submit(name, definition)
            return None
        if not asked.answer.done():
            return None
        if self._clock() - asked.at_s >= every_s:
            self._submit(name, definition)
        return asked.answer.result()

    def _submit(self, name: str, definition: BatchInference) -> None:
        self._asked[name] = _Asked(definition, self._clock(), self._threads.submit(self._ask, name, definition))

    def _ask(self, name: str, definition: BatchInference) -> str | None:
        try:
            check_files(definition, self._settings)
            return definition.source.fingerprint(Reading(files_folder(self._settings)))
        except (TrainingError, HubError, OSError) as error:
            log.warning("looking whether the source of %s has changed: %s", name, error)
            return None
        except Exception:
            log.exception("looking whether the source of %s has changed failed; it is asked again", name)
            return None
