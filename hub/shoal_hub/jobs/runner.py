"""Starts queued jobs as child processes and notices how they end. The controller calls `tick`.

A job outlives a restart of the hub: a runner that finds a running job whose process lives leaves it alone, and
queues it again where the process is gone.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from sqlalchemy import select as select_columns
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select, update

from shoal_hub.bulk import Query
from shoal_hub.counts_folder import counts_environment
from shoal_hub.database import Database, announce, is_one_of, utc_now
from shoal_hub.jobs.kinds import WAITING_KINDS
from shoal_hub.jobs.queue import finish
from shoal_hub.jobs.tables import Job
from shoal_hub.settings import Settings

log = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 3
"""A job whose process vanished this often is not tried again: it may be what kills the machine."""
_LOG_TAIL_BYTES: Final = 2000


class JobRunner:
    """Runs at most `settings.max_jobs` at once, besides those that only wait for devices."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether jobs of this runner are at work, or were at the last tick."""
        return bool(self._children)

    def tick(self) -> None:
        """Take note of jobs that ended and start those whose turn it is."""
        self._end_given_up()
        self._reap()
        if self._has_open():
            self._requeue_orphans()
            self._start_queued()

    def stop(self) -> None:
        """End the jobs of this runner and queue them again; a stop that was asked for is no attempt of theirs."""
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            child.wait()
        try:
            with self._database.transaction() as session:
                cut = update(Job).where(col(Job.id).in_(list(self._children)), col(Job.state) == "running")
                session.exec(cut.values(state="queued", pid=None, attempts=col(Job.attempts) - 1))
        except SQLAlchemyError:
            log.exception("the jobs that were ended are not queued yet; the next start finds their processes gone")

    def _end_given_up(self) -> None:
        """End the processes whose jobs have been given up meanwhile."""
        if not self._children:
            return
        with self._database.session() as session:
            mine = col(Job.id).in_(list(self._children))
            ended = session.exec(select(Job.id).where(mine, col(Job.state).not_in(("queued", "running")))).all()
        for job_id in ended:
            self._children[job_id].terminate()

    def _reap(self) -> None:
        for job_id, child in list(self._children.items()):
            status = child.poll()
            if status is None:
                continue
            del self._children[job_id]
            with self._database.transaction() as session:
                if finish(session, job_id, error=f"its process ended with status {status}: {self._log_tail(job_id)}"):
                    log.error("job %s ended with status %d without a word", job_id, status)
                announce(session, "jobs")

    def _has_open(self) -> bool:
        """Whether there is a job to look after: to see that there is none takes no turn as the one who writes."""
        with self._database.session() as session:
            return bool(_OPEN.rows(session))

    def _requeue_orphans(self) -> None:
        with self._database.transaction() as session:
            for job in session.exec(select(Job).where(Job.state == "running")):
                if job.id in self._children or _is_alive(job):
                    continue
                if job.attempts >= MAX_ATTEMPTS:
                    finish(
                        session, job.id, error=f"its process vanished {job.attempts} times: {self._log_tail(job.id)}"
                    )
                    continue
                log.warning("job %s: its process is gone, so it is queued again", job.id)
                job.state, job.pid = "queued", None
                session.add(job)

    def _start_queued(self) -> None:
        free = max(0, self._settings.max_jobs - self._running())
        waiting = col(Job.kind).in_(WAITING_KINDS)
        queued = select(Job).where(Job.state == "queued").order_by(col(Job.created_at))
        with self._database.transaction() as session:
            for job in [*session.exec(queued.where(waiting)), *session.exec(queued.where(~waiting).limit(free))]:
                child = self._spawn(job.id)
                self._children[job.id] = child
                job.state, job.pid, job.started_at = "running", child.pid, utc_now()
                job.attempts += 1
                session.add(job)
                announce(session, "jobs")

    def _running(self) -> int:
        with self._database.session() as session:
            running = select(Job.id).where(Job.state == "running", col(Job.kind).not_in(WAITING_KINDS))
            return len(session.exec(running).all())

    def _spawn(self, job_id: str) -> "subprocess.Popen[bytes]":
        log_file = log_path(self._settings, job_id)
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "shoal_hub.jobs.child", job_id],
                env=os.environ | self._settings.to_environment() | counts_environment(self._settings.data, "job"),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a signal to the hub's terminal does not end the job
            )

    def _log_tail(self, job_id: str) -> str:
        lines = read_tail(log_path(self._settings, job_id), _LOG_TAIL_BYTES).strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"


_OPEN: Final = Query(select_columns(col(Job.id)).where(is_one_of(col(Job.state), ("queued", "running"))).limit(1))


def log_path(settings: Settings, job_id: str) -> Path:
    """Return where a job's output goes."""
    return settings.data / "jobs" / job_id / "log"


def read_tail(path: Path, size_bytes: int) -> str:
    """Return the last part of a log as text; nothing of one that was not begun."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size_bytes))
            return file.read(size_bytes).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _is_alive(job: Job) -> bool:
    """Whether the process that the row names still runs, and is that job's: process ids are used again."""
    try:
        return job.pid is not None and job.id.encode() in Path(f"/proc/{job.pid}/cmdline").read_bytes()
    except OSError:
        return False
