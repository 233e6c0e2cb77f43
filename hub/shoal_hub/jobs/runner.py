"""Starts queued jobs as child processes and notices how they end. The controller calls `tick`.

A job outlives a restart of the hub: a runner that finds a running job whose process lives leaves it alone, and
queues it again where the process is gone.
"""

import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import or_
from sqlalchemy import select as select_columns
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select, update

from shoal_hub.bulk import Query
from shoal_hub.counts_folder import counts_environment
from shoal_hub.database import Database, announce, is_one_of, utc_now
from shoal_hub.jobs.kinds import WAITING_KINDS
from shoal_hub.jobs.limits import thread_environment
from shoal_hub.jobs.log import job_folder, log_path, read_tail
from shoal_hub.jobs.processes import MARK, cause_of, count_oom_kills, end_group, kill_all
from shoal_hub.jobs.queue import Retrying, end_attempt, finish
from shoal_hub.jobs.settings import parse_at_once
from shoal_hub.jobs.tables import OPEN, Cause, Job
from shoal_hub.settings import Settings

log = logging.getLogger(__name__)

_LOG_TAIL_BYTES: Final = 2000
_SAID: Final[dict[Cause, str]] = {
    "memory": "there was too little memory for it: ",
    "cpu_time": "it took more CPU time than SHOAL_JOB_CPU_S allows: ",
    "killed": "it was killed: ",
}


class JobRunner:
    """Runs at most `settings.max_jobs` at once, and of a kind no more than is set, besides those that wait for devices.

    Args:
        database: Where jobs are.
        settings: What they may take.
        program: The module that does a job in its process.
    """

    def __init__(self, database: Database, settings: Settings, program: str = "shoal_hub.jobs.child") -> None:
        self._database = database
        self._program = program
        self._settings = settings
        self._retrying = Retrying.of(settings)
        self._at_once = parse_at_once(settings.jobs_at_once)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._adopted: dict[str, int] = {}
        """The processes of running jobs that another runner has started; they are no children of this one."""
        self._killed_at: dict[str, float] = {}
        """When a job that was asked to end is killed, by the monotonic clock."""
        self._oom_kills: dict[str, int] = {}
        self._waits = False

    @property
    def is_busy(self) -> bool:
        """Whether jobs of this runner are at work, or one waits for its next attempt, as of the last tick."""
        return bool(self._children or self._adopted) or self._waits

    def tick(self) -> None:
        """Take note of jobs that ended and start those whose turn it is."""
        self._end_overdue()
        self._end_given_up()
        self._reap()
        if self._has_open():
            self._requeue_orphans()
            self._start_queued()
        else:
            self._waits = False

    def stop(self) -> None:
        """End the jobs of this runner and queue them again; a stop that was asked for is no attempt of theirs."""
        for child in self._children.values():
            child.terminate()
        for job_id, child in self._children.items():
            try:
                child.wait(self._settings.job_stop_s)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            kill_all(job_id, child.pid)
        try:
            with self._database.transaction() as session:
                cut = update(Job).where(col(Job.id).in_(list(self._children)), col(Job.state) == "running")
                session.exec(cut.values(state="queued", pid=None, attempts=col(Job.attempts) - 1))
        except SQLAlchemyError:
            log.exception("the jobs that were ended are not queued yet; the next start finds their processes gone")

    def _end_overdue(self) -> None:
        """Have those fail that have run for longer than they may; their processes end as of any that has ended."""
        longest_s = self._settings.job_wall_s
        if not longest_s or not (self._children or self._adopted):
            return
        overdue = select(Job.id).where(
            Job.state == "running",
            col(Job.kind).not_in(WAITING_KINDS),
            col(Job.started_at) < utc_now() - timedelta(seconds=longest_s),
        )
        with self._database.session() as session:
            found = session.exec(overdue).all()
        for job_id in found:
            with self._database.transaction() as session:
                why = f"it ran for more than the {longest_s:g} s that SHOAL_JOB_WALL_S allows"
                finish(session, job_id, error=why, cause="wall_time")

    def _end_given_up(self) -> None:
        """End the processes of jobs that run no more: first they are asked to, and killed after a while.

        A job that was cancelled and is to be done again is queued already while its process goes on.
        """
        mine = [*self._children, *self._adopted]
        if not mine:
            return
        with self._database.session() as session:
            jobs = session.exec(select(Job).where(col(Job.id).in_(mine), Job.state != "running")).all()
        for job in jobs:
            child = self._children.get(job.id)
            leader = self._adopted[job.id] if child is None else child.pid
            if job.id not in self._killed_at:
                if not _says_itself(job) and (child is not None or _leads(leader, job.id)):
                    end_group(leader)
                self._killed_at[job.id] = time.monotonic() + self._settings.job_stop_s
            elif time.monotonic() >= self._killed_at[job.id]:
                kill_all(job.id, leader)
            if child is None and not _leads(leader, job.id):
                kill_all(job.id, leader)
                del self._adopted[job.id], self._killed_at[job.id]

    def _reap(self) -> None:
        for job_id, child in list(self._children.items()):
            status = child.poll()
            if status is None:
                continue
            kill_all(job_id, child.pid)  # whatever it has started ends with it
            with self._database.transaction() as session:
                job = session.get_one(Job, job_id, populate_existing=True)
                if job.state == "running":
                    self._note_silent_end(session, job, status)
                announce(session, "jobs")
            del self._children[job_id]
            self._killed_at.pop(job_id, None)
            self._oom_kills.pop(job_id, None)

    def _note_silent_end(self, session: Session, job: Job, status: int) -> None:
        last_line = self._last_line(job.id)
        cause = cause_of(status, last_line, oom_kills=count_oom_kills() - self._oom_kills.get(job.id, 0))
        why = f"{_SAID.get(cause, '')}its process ended with status {status}: {last_line}"
        log.error("job %s ended with status %d without a word", job.id, status)
        end_attempt(session, job, cause, why, self._retrying)

    def _has_open(self) -> bool:
        """Whether there is a job to look after: to see that there is none takes no turn as the one who writes."""
        with self._database.session() as session:
            return bool(_OPEN.rows(session))

    def _requeue_orphans(self) -> None:
        with self._database.transaction() as session:
            # Of rows that somebody else holds, whose job ends now or keeps what it made, the next tick takes note.
            running = select(Job).where(Job.state == "running").with_for_update(skip_locked=True)
            for job in session.exec(running).all():
                if job.id in self._children:
                    continue
                if job.pid is not None and _is_alive(job):
                    self._adopted[job.id] = job.pid
                    continue
                self._adopted.pop(job.id, None)
                self._killed_at.pop(job.id, None)
                kill_all(job.id, job.pid)
                if job.attempts >= self._retrying.attempts:
                    why = f"its process vanished {job.attempts} times: {self._last_line(job.id)}"
                    finish(session, job.id, error=why, cause="killed")
                    continue
                log.warning("job %s: its process is gone, so it is queued again", job.id)
                job.state, job.pid = "queued", None
                session.add(job)

    def _start_queued(self) -> None:
        with self._database.transaction() as session:
            waiting = select(Job).where(Job.state == "queued").with_for_update(skip_locked=True)
            queued = session.exec(waiting.order_by(col(Job.priority).desc(), col(Job.created_at))).all()
            now = utc_now()
            for job in self._whose_turn_it_is(queued, self._running(session), now):
                child = self._spawn(job.id)
                self._children[job.id] = child
                job.state, job.pid, job.started_at, job.not_before = "running", child.pid, now, None
                job.attempts += 1
                session.add(job)
                announce(session, "jobs")
            self._waits = any(job.not_before is not None for job in queued)

    def _whose_turn_it_is(self, queued: Sequence[Job], running: Counter[str], now: datetime) -> list[Job]:
        """Return the jobs that start now; one that may not, as others of its kind run, holds up nobody behind it."""
        free = self._settings.max_jobs - sum(count for kind, count in running.items() if kind not in WAITING_KINDS)
        chosen = []
        for job in queued:
            # It has told that it failed, or was cancelled and asked for again, and its process is about to end.
            is_ending = job.id in self._children or job.id in self._adopted
            if is_ending or (job.not_before is not None and job.not_before > now):
                continue
            if job.kind not in WAITING_KINDS:
                if free <= 0 or running[job.kind] >= self._at_once.get(job.kind, self._settings.max_jobs):
                    continue
                free -= 1
            running[job.kind] += 1
            chosen.append(job)
        return chosen

    def _running(self, session: Session) -> Counter[str]:
        """Return how many jobs run, by kind; one that was ended counts until its processes have."""
        counted = select(Job.kind).where(or_(col(Job.state) == "running", col(Job.id).in_(list(self._killed_at))))
        return Counter(session.exec(counted).all())

    def _spawn(self, job_id: str) -> "subprocess.Popen[bytes]":
        log_file = log_path(self._settings, job_id)
        log_file.parent.mkdir(parents=True, exist_ok=True)
        self._oom_kills[job_id] = count_oom_kills()
        own = {MARK: job_id, **thread_environment(self._settings), **counts_environment(self._settings.data, "job")}
        with log_file.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", self._program, job_id],
                env=os.environ | self._settings.to_environment() | own,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a signal to the hub's terminal does not end the job
            )

    def _last_line(self, job_id: str) -> str:
        lines = read_tail(job_folder(self._settings, job_id), _LOG_TAIL_BYTES).strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"


_OPEN: Final = Query(select_columns(col(Job.id)).where(is_one_of(col(Job.state), OPEN)).limit(1))


def _says_itself(job: Job) -> bool:
    """Whether a job's own process has told how it ended, and so ends by itself."""
    return job.state == "succeeded" or job.cause in {"error", "memory"}


def _is_alive(job: Job) -> bool:
    """Whether the process that the row names still runs, and is that job's: process ids are used again."""
    return job.pid is not None and _leads(job.pid, job.id)


def _leads(pid: int, job_id: str) -> bool:
    """Whether a process runs, and is the one that a job began with."""
    try:
        return job_id.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
