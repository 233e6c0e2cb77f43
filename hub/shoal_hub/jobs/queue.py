"""The queue of jobs: what others ask for, and how a job's state moves."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlmodel import Session, col, update
from typing_extensions import Self

from shoal_hub.audit.actor import JOBS
from shoal_hub.audit.record import record
from shoal_hub.database import announce, utc_now
from shoal_hub.errors import ConflictError, JobError
from shoal_hub.events.record import record_event
from shoal_hub.events.tables import Severity
from shoal_hub.ids import new_id
from shoal_hub.jobs.settings import JobSettings
from shoal_hub.jobs.tables import FAILED, OPEN, Cause, Job, JobState
from shoal_hub.tracing.remembered import remember

PASSING: Final = frozenset[Cause]({"killed", "memory"})
"""What may be otherwise the next time."""
LONGEST_RETRY_S: Final = 3600.0
_WHOLE_KINDS: Final = frozenset({"compress", "training"})
"""Kinds that nothing but the job itself waits for: a failed one may be done again by hand."""
_MAX_ERROR: Final = 2000


@dataclass(frozen=True)
class Retrying:
    """How often a job is tried.

    Attributes:
        attempts: All together.
        first_s: Before the second; doubled before each other, up to an hour.
    """

    attempts: int
    first_s: float

    @classmethod
    def of(cls, settings: JobSettings) -> Self:
        """Return what the hub's settings say."""
        return cls(settings.job_attempts, settings.job_retry_s)

    def wait_s(self, attempts: int) -> float:
        """Return how long to wait after so many attempts."""
        return float(min(self.first_s * 2 ** min(attempts - 1, 32), LONGEST_RETRY_S))


def enqueue(session: Session, kind: str, subject: str, params: dict[str, Any], *, by: str, priority: int = 0) -> Job:
    """Add a job; the runner starts it when its turn comes."""
    job = Job(
        id=new_id("j"),
        kind=kind,
        subject=subject,
        params=params,
        priority=priority,
        created_by=by,
        created_at=utc_now(),
    )
    session.add(job)
    session.flush()
    remember(session, f"job/{job.id}")
    announce(session, "jobs")
    return job


def give_up(session: Session, job_id: str, why: str) -> bool:
    """End a job that nobody needs any more, queued or running; the runner ends its processes.

    Returns:
        False if it had ended already.
    """
    before = session.get_one(Job, job_id, populate_existing=True).state
    if not _end_open(session, job_id, "failed", "given_up", why):
        return False
    record(session, JOBS, "jobs.finish", f"jobs/{job_id}", {"state": before}, {"state": "failed", "error": why})
    return True


def cancel(session: Session, job_id: str, *, by: str) -> bool:
    """End a job because a person wants it, queued or running; the runner ends its processes.

    Returns:
        False if it had ended already.
    """
    return _end_open(session, job_id, "cancelled", "cancelled", f"cancelled by {by}")


def do_again(session: Session, job: Job, *, by: str) -> None:
    """Queue a job again that has failed or was cancelled; what it keeps in its folder is there.

    Raises:
        ConflictError: It has not, or belongs to something that has ended with it.
    """
    if job.state not in FAILED:
        raise ConflictError(f"doing the job {job.id} again: it is {job.state}", "only what has failed is done again")
    if job.kind not in _WHOLE_KINDS:
        raise ConflictError(
            f"doing the job {job.id} again: {job.subject or job.kind} has ended with it", "start that again instead"
        )
    job.state, job.error, job.cause, job.attempts = "queued", "", "", 0
    job.ended_at = job.not_before = None
    session.add(job)
    record_event(session, "job_queued", f"job {job.id} ({job.kind}) is done again for {by}", subject=f"job/{job.id}")
    announce(session, "jobs")


def end_attempt(session: Session, job: Job, cause: Cause, why: str, retrying: Retrying) -> bool:
    """End an attempt that came to nothing: the job is tried again where that may help, else it has failed.

    Returns:
        Whether it is tried again.
    """
    if cause not in PASSING or job.attempts >= retrying.attempts:
        finish(session, job.id, error=why, cause=cause)
        return False
    wait_s = retrying.wait_s(job.attempts)
    told = f"attempt {job.attempts} of {retrying.attempts}: {why}"[:_MAX_ERROR]
    values = {"state": "queued", "pid": None, "cause": cause, "not_before": utc_now() + timedelta(seconds=wait_s)}
    running = update(Job).where(col(Job.id) == job.id, col(Job.state) == "running")
    if session.exec(running.values(**values, message=f"again in {wait_s:.0f} s, {told}"[:200])).rowcount != 1:
        return False
    text = f"job {job.id} ({job.kind} of {job.subject}) is tried again: {told}"
    record_event(session, "job_retried", text[:1000], subject=f"job/{job.id}", severity="warning")
    announce(session, "jobs")
    return True


def finish(
    session: Session, job_id: str, *, result: dict[str, Any] | None = None, error: str = "", cause: Cause = "error"
) -> bool:
    """End a running job, once: by a result or by an error.

    Returns:
        False if the job was not running, so that a late word of a child changes nothing.
    """
    state: JobState = "failed" if error else "succeeded"
    values: dict[str, Any] = {"state": state, "result": result, "error": error[:_MAX_ERROR], "pid": None}
    values |= {"ended_at": utc_now(), "cause": cause if error else ""}
    if not error:
        values["progress"] = 1.0
    running = update(Job).where(col(Job.id) == job_id, col(Job.state) == "running")
    if session.exec(running.values(**values)).rowcount != 1:
        return False
    job = session.get_one(Job, job_id, populate_existing=True)
    message = f"job {job.id} ({job.kind} of {job.subject}) {state}" + (f": {error}" if error else "")
    severity: Severity = "error" if error else "info"
    record_event(session, f"job_{state}", message[:1000], subject=f"job/{job.id}", severity=severity)
    after = {"state": state} | ({"error": message[:1000]} if error else {})
    record(session, JOBS, "jobs.finish", f"jobs/{job.id}", {"state": "running"}, after)
    announce(session, "jobs")
    return True


def require_running(session: Session, job_id: str) -> None:
    """See, in the transaction that keeps what a job made, that nobody has ended it; nobody can before the commit.

    Raises:
        JobError: Somebody has.
    """
    held = session.get_one(Job, job_id, with_for_update=True, populate_existing=True)
    if held.state != "running":
        raise JobError(f"the job {job_id} is {held.state}: nothing is kept of it")


def _end_open(session: Session, job_id: str, state: JobState, cause: Cause, why: str) -> bool:
    values: dict[str, Any] = {"state": state, "error": why, "cause": cause, "ended_at": utc_now(), "pid": None}
    is_open = update(Job).where(col(Job.id) == job_id, col(Job.state).in_(OPEN))
    if session.exec(is_open.values(**values)).rowcount != 1:
        return False
    job = session.get_one(Job, job_id, populate_existing=True)
    kind, verb = ("job_cancelled", "was") if state == "cancelled" else ("job_given_up", "was given up:")
    message = f"job {job.id} ({job.kind} of {job.subject}) {verb} {why}"
    record_event(session, kind, message[:1000], subject=f"job/{job.id}")
    announce(session, "jobs")
    return True
