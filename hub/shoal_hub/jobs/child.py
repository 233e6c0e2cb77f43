"""The process of one job: `python -m shoal_hub.jobs.child <job id>`; prints go to the job's log."""

import fcntl
import logging
import os
import sys
from contextlib import closing
from pathlib import Path

from pydantic import BaseModel

from shoal_hub.database import Database
from shoal_hub.jobs.kinds import code_of
from shoal_hub.jobs.queue import finish
from shoal_hub.jobs.tables import Job
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
    folder = settings.data / "jobs" / job_id
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("ab") as lock:
        # A hub that is killed while it starts a job starts it again: the second process waits for the first.
        fcntl.flock(lock, fcntl.LOCK_EX)
        with closing(Database(settings.database)) as database:
            return _run(job_id, settings, folder, database)


def _run(job_id: str, settings: Settings, folder: Path, database: Database) -> bool:
    with database.session() as session:
        job = session.get_one(Job, job_id)
    if job.state in {"succeeded", "failed"}:
        return job.state == "succeeded"
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
            finish(session, job_id, error=str(error)[:2000] or type(error).__name__)
        return False
    with database.transaction() as session:
        return finish(session, job_id, result=result.model_dump(mode="json"))


def _do(database: Database, job: Job, work: JobWork) -> BaseModel:
    subject = f"job/{job.id}"
    with database.session() as session:
        cause = recall(session, [subject]).get(subject)
    if cause is None:
        return code_of(job.kind)(work)
    with span(f"job {job.kind}", cause, "consumer", {"job": job.id, "job.subject": job.subject}):
        return code_of(job.kind)(work)


def main() -> None:
    """Do the job that the command line names."""
    os.umask(PRIVATE_UMASK)
    install_logging()
    settings = Settings.read(os.environ)
    start_tracing(settings, "job")
    is_done = run_job(sys.argv[1], settings)
    stop_tracing()
    sys.exit(0 if is_done else 1)


if __name__ == "__main__":
    main()
