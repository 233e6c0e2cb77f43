"""Records a training at the hub in the hub's own tracking."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, select

from shoal_hub.database import Database, utc_now
from shoal_hub.errors import HubError
from shoal_hub.jobs.tables import Job
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.settings import Settings
from shoal_hub.tracking.experiments import to_ms
from shoal_hub.tracking.files import check_room, keep_file
from shoal_hub.tracking.inputs import DatasetInput, log_datasets
from shoal_hub.tracking.runs import find_active, set_run_tags, update_run
from shoal_hub.tracking.tables import RunStatus, TrackedMetric
from shoal_hub.tracking.values import Measured, log_metrics, log_params
from shoal_hub.training.start import files_root
from shoal_training.pipeline.record import State
from shoal_training.pipeline.recording import Point, SinkError, Told

log = logging.getLogger(__name__)

_STATUS: Final[dict[State, RunStatus]] = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED"}
_DIGEST: Final = 36
"""Characters that tracking keeps of one."""


class HubSink:
    """The run of a job.

    Args:
        database: The hub's.
        store: Of artifacts.
        settings: The hub's.
        job_id: Of the job that trains.
        run_id: Of the run.
        by: Who asked for it.
    """

    def __init__(
        self, database: Database, store: ArtifactStore, settings: Settings, *, job_id: str, run_id: str, by: str
    ) -> None:
        self._database, self._store, self._settings = database, store, settings
        self._job_id, self._run_id, self._by = job_id, run_id, by

    def begin(self, experiment: str, name: str, started_at: datetime, tags: Mapping[str, str]) -> Told:  # noqa: ARG002 - it has one
        """See `RunSink`; a job that is done again goes on with its run."""
        with self._writing() as session:
            row = find_active(session, self._run_id)
            update_run(session, row, status="RUNNING", ended_ms=None, name=name)
            row.started_ms = to_ms(started_at)
            set_run_tags(session, row, {**tags, "mlflow.source.type": "JOB", "mlflow.source.name": self._job_id})
            told = select(TrackedMetric.key, TrackedMetric.step).where(TrackedMetric.run == row.id)
            return [(key, step) for key, step in session.exec(told)]

    def params(self, params: Mapping[str, str]) -> None:
        """See `RunSink`."""
        with self._writing() as session:
            log_params(session, self._run_id, params.items())

    def data(self, name: str, digest: str) -> None:
        """See `RunSink`."""
        with self._writing() as session:
            described = DatasetInput(name, digest[:_DIGEST], "shoal", digest, "", "", "training")
            log_datasets(session, find_active(session, self._run_id), [described])

    def metrics(self, points: Sequence[Point]) -> None:
        """See `RunSink`; the job's log tells them as well."""
        for step, told in groupby(sorted(points, key=lambda one: one.step), key=lambda one: one.step):
            log.info("step %d: %s", step, ", ".join(f"{one.name} {one.value:.5g}" for one in told))
        with self._writing() as session:
            log_metrics(session, self._run_id, [Measured(one.name, one.value, one.step, one.at_ms) for one in points])

    def file(self, name: str, path: Path) -> None:
        """See `RunSink`."""
        with self._writing() as session:
            check_room(session, self._settings, path.stat().st_size)
            root = files_root(find_active(session, self._run_id))
            keep_file(session, self._store, f"{root}/{name}", self._store.put(path), by=self._by, now=utc_now())

    def end(self, state: State, ended_at: datetime, tags: Mapping[str, str]) -> None:
        """See `RunSink`; what was cancelled has been killed, in MLflow's words."""
        with self._writing() as session:
            row = find_active(session, self._run_id)
            is_cancelled = session.get_one(Job, self._job_id).state == "cancelled"
            update_run(
                session, row, status="KILLED" if is_cancelled else _STATUS[state], ended_ms=to_ms(ended_at), name=None
            )
            set_run_tags(session, row, tags)

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        try:
            with self._database.transaction() as session:
                yield session
        except (HubError, SQLAlchemyError, OSError) as error:
            raise SinkError(f"recording the run {self._run_id}: {error}") from error
