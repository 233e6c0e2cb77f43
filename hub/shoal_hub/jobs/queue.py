"""The queue of jobs: what others ask for, and how a job's state moves."""

from typing import Any

from sqlmodel import Session, col, update

from shoal_hub.audit.actor import JOBS
from shoal_hub.audit.record import record
from shoal_hub.database import announce, utc_now
from shoal_hub.events.record import record_event
from shoal_hub.events.tables import Severity
from shoal_hub.ids import new_id
from shoal_hub.jobs.tables import Job
from shoal_hub.tracing.remembered import remember


def enqueue(session: Session, kind: str, subject: str, params: dict[str, Any], *, by: str) -> Job:
    """Add a job; the runner starts it when its turn comes."""
    job = Job(id=new_id("j"), kind=kind, subject=subject, params=params, created_by=by, created_at=utc_now())
    session.add(job)
    session.flush()
    remember(session, f"job/{job.id}")
    announce(session, "jobs")
    return job


def give_up(session: Session, job_id: str, why: str) -> bool:
    """End a job that nobody needs any more, queued or running; the runner ends its process.

    Returns:
        False if it had ended already.
    """
    values: dict[str, Any] = {"state": "failed", "error": why, "ended_at": utc_now(), "pid": None}
    before = session.get_one(Job, job_id, populate_existing=True).state
    is_open = update(Job).where(col(Job.id) == job_id, col(Job.state).in_(("queued", "running")))
    if session.exec(is_open.values(**values)).rowcount != 1:
        return False
    job = session.get_one(Job, job_id, populate_existing=True)
    message = f"job {job.id} ({job.kind} of {job.subject}) was given up: {why}"
    record_event(session, "job_given_up", message[:1000], subject=f"job/{job.id}")
    record(session, JOBS, "jobs.finish", f"jobs/{job.id}", {"state": before}, {"state": "failed", "error": why})
    announce(session, "jobs")
    return True


def finish(session: Session, job_id: str, *, result: dict[str, Any] | None = None, error: str = "") -> bool:
    """End a running job, once: by a result or by an error.

    Returns:
        False if the job was not running, so that a late word of a child changes nothing.
    """
    state = "failed" if error else "succeeded"
    values: dict[str, Any] = {"state": state, "result": result, "error": error, "ended_at": utc_now(), "pid": None}
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
