"""The process of one job: `python -m shoal_hub.jobs.child <job id>`; prints go to the job's log."""

import fcntl
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import BaseModel
from sqlmodel import Session

from shoal_hub.database import Database
from shoal_hub.jobs.kinds import WAITING_KINDS, code_of
from shoal_hub.jobs.limits import apply_limits, is_out_of_memory
from shoal_hub.jobs.log import job_folder
from shoal_hub.jobs.pump import pump_output
from shoal_hub.jobs.queue import Retrying, end_attempt, finish
from shoal_hub.jobs.tables import ENDED, Job
from shoal_hub.jobs.work import JobWork
from shoal_hub.redaction import install_logging
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.settings import Settings
from shoal_hub.tracing.export import start_tracing
from shoal_hub.tracing.remembered import recall
from shoal_hub.tracing.spans import span, stop_tracing
from shoal_hub.trust.files import PRIVATE_UMASK

log = logging.getLogger(__name__)


def run_job(job_id: str, settings: Settings) -> bool:
    """Do a job and write its end into the database.

    Returns:
        Whether it succeeded.
    """
    folder = job_folder(settings, job_id)
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder), closing(Database(settings.database)) as database:
        return _run(job_id, settings, folder, database)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Have a job's folder for this process alone.

    A hub that is killed while it starts a job starts it again: the second process waits for the first.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _run(job_id: str, settings: Settings, folder: Path, database: Database) -> bool:
    with database.session() as session:
        job = session.get_one(Job, job_id)
    if job.state in ENDED:
        return job.state == "succeeded"
    if job.kind not in WAITING_KINDS:
        apply_limits(settings)
    work = JobWork(
        job_id=job_id,
        params=job.params,
        created_by=job.created_by,
        folder=folder,
        settings=settings,
        database=database,
        artifacts=ArtifactStore(settings.artifacts),
    )
    try:
        result = _do(database, job, work)
    except Exception as error:
        log.exception("the job has failed")
        with database.transaction() as session:
            _note_error(session, job_id, error, Retrying.of(settings))
        return False
    with database.transaction() as session:
        has_ended = finish(session, job_id, result=result.model_dump(mode="json"))
        # It may have said so itself, in the transaction that keeps what it made.
        return has_ended or session.get_one(Job, job_id, populate_existing=True).state == "succeeded"


def _note_error(session: Session, job_id: str, error: Exception, retrying: Retrying) -> None:
    why = str(error) or type(error).__name__
    if not is_out_of_memory(error):
        finish(session, job_id, error=why)
        return
    job = session.get_one(Job, job_id, populate_existing=True)
    end_attempt(session, job, "memory", f"there was too little memory for it: {why}", retrying)


def _do(database: Database, job: Job, work: JobWork) -> BaseModel:
    subject = f"job/{job.id}"
    with database.session() as session:
        cause = recall(session, [subject]).get(subject)
    if cause is None:
        return code_of(job.kind)(work)
    with span(f"job {job.kind}", cause, "consumer", {"job": job.id, "job.subject": job.subject}):
        return code_of(job.kind)(work)


def _end(number: int, _frame: object) -> None:
    """End as after an error, so that whatever a job has started is ended on the way."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main() -> None:
    """Do the job that the command line names."""
    os.umask(PRIVATE_UMASK)
    settings = Settings.read(os.environ)
    pump_output(job_folder(settings, sys.argv[1]), settings.job_log_bytes)
    signal.signal(signal.SIGTERM, _end)
    install_logging()
    start_tracing(settings, "job")
    is_done = run_job(sys.argv[1], settings)
    stop_tracing()
    sys.exit(0 if is_done else 1)


if __name__ == "__main__":
    main()
