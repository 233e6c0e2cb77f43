"""Ends federated runs: by their own job, and by the controller for a job whose process was killed.

A process that was killed takes nothing back, so what a run wants of devices and broker is settled by level.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import String, bindparam
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, or_

from shoal_hub.audit.actor import CONTROLLER, Actor
from shoal_hub.audit.record import record
from shoal_hub.bulk import Query
from shoal_hub.database import Database, announce, as_texts, is_among, is_one_of, utc_now
from shoal_hub.devices.intents import drop_intents_of
from shoal_hub.devices.tables import Intent
from shoal_hub.events.record import record_event
from shoal_hub.federation.tables import FederatedRun, RunState
from shoal_hub.jobs.tables import ENDED, Job
from shoal_hub.transfer.leases import drop_leases, lease_users

_PREFIX: Final = "federated/"


def owner_of(run_id: str) -> str:
    """Return the name under which a run owns intents, leases and events."""
    return f"{_PREFIX}{run_id}"


def release(session: Session, run_id: str) -> None:
    """Take back whatever a run still wants of devices and broker."""
    owner = owner_of(run_id)
    drop_intents_of(session, owner)
    for user in lease_users(session):
        if user == owner or user.startswith(f"{owner}/"):
            drop_leases(session, user)


def close_run(session: Session, run: FederatedRun, state: RunState, reason: str, now: datetime, *, by: Actor) -> None:
    """Close a run's row in the name of a part of the hub; a stop by an operator stands."""
    before, run.state = run.state, "stopped" if run.state == "stopped" else state
    if run.state != before:
        after = {"state": run.state, "reason": reason}
        record(session, by, "federation.finish", owner_of(run.id), {"state": before}, after)
    run.reason, run.ended_at = reason, now
    session.add(run)
    text = f"{run.id} {run.state}" + (f": {reason}" if reason else f", version {run.result_version}")
    severity = "info" if run.state == "succeeded" else "warning"
    record_event(session, f"federated_{run.state}", text, subject=owner_of(run.id), severity=severity)  # type: ignore[arg-type]
    announce(session, "federated")


def close_orphans(database: Database) -> None:
    """Close and release the runs whose job has ended without doing so."""
    with database.session() as session:
        orphans = _ORPHANS.rows(session, owners=as_texts(_owners(session)))
    for run_id, error in orphans:
        with database.transaction() as session:
            release(session, run_id)
            run = session.get_one(FederatedRun, run_id)
            if run.ended_at is None:
                reason = error or "its job has ended without a result"
                close_run(session, run, "failed", reason, utc_now(), by=CONTROLLER)


_ORPHANS: Final = Query(
    select_columns(col(FederatedRun.id), col(Job.error))
    .join(Job, col(Job.id) == col(FederatedRun.job_id))
    .where(
        is_one_of(col(Job.state), ENDED),
        or_(
            col(FederatedRun.ended_at).is_(None),
            is_among(col(FederatedRun.id), bindparam("owners", type_=String())),
        ),
    )
)
_OWNERS: Final = Query(select_columns(col(Intent.owner)).where(col(Intent.owner).startswith(_PREFIX)).distinct())


def _owners(session: Session) -> set[str]:
    """Return the runs that own an intent or a lease."""
    owners = [*(owner for (owner,) in _OWNERS.rows(session)), *lease_users(session)]
    return {owner.removeprefix(_PREFIX).split("/")[0] for owner in owners if owner.startswith(_PREFIX)}
