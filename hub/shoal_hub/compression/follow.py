"""Moves runs on, tick by tick: has them choose when devices have measured, and ends those whose job has failed."""

from datetime import datetime
from typing import Final

from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_hub.benchmarks.tables import Benchmark
from shoal_hub.bulk import Query
from shoal_hub.compression.start import CHOOSE, close_run, find_run
from shoal_hub.compression.tables import OPEN, CompressionRun
from shoal_hub.database import Database, is_one_of
from shoal_hub.jobs.queue import enqueue
from shoal_hub.jobs.tables import FAILED, Job

_OPEN: Final = Query(select_columns(col(CompressionRun.id)).where(is_one_of(col(CompressionRun.state), OPEN)))


class CompressionRuns:
    """One chore of the controller.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def step(self, now: datetime) -> int:
        """Move each open run on, and return how many there are."""
        with self._database.session() as session:
            found = [run_id for (run_id,) in _OPEN.rows(session)]
        for run_id in found:
            with self._database.transaction() as session:
                _move(session, find_run(session, run_id, is_locked=True), now)
        return len(found)


def _move(session: Session, row: CompressionRun, now: datetime) -> None:
    if row.state == "measuring":
        benchmark = session.get_one(Benchmark, row.benchmark_id)
        if benchmark.state != "running":
            row.job_id = enqueue(session, CHOOSE, f"compression/{row.id}", {"run": row.id}, by=row.created_by).id
            row.state = "choosing"
            session.add(row)
        return
    job = session.get(Job, row.job_id)
    if row.state in OPEN and job is not None and job.state in FAILED:
        close_run(session, row, job.state, job.error, now)
