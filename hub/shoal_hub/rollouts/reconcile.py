"""Takes every rollout that has something open one step on: reads, has `advance` decide, keeps all at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from shoal_contract.desired import ArtifactRef, DesiredModel
from shoal_contract.reported import Problem
from shoal_hub.audit.actor import CONTROLLER
from shoal_hub.audit.record import record
from shoal_hub.database import Database, announce
from shoal_hub.devices.intents import drop_intents, intents_of, set_intent
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.rollouts.advance import advance
from shoal_hub.rollouts.delta_pairs import is_waiting_for_deltas
from shoal_hub.rollouts.facts import StoredFacts, owner_of
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.rollouts.views import (
    Attempt,
    DropIntent,
    DropLeases,
    Effect,
    Record,
    RolloutView,
    SetIntent,
    TakeLease,
)
from shoal_hub.transfer.leases import drop_leases, lease_users, take_leases
from shoal_hub.transfer.needs import model_artifacts

_PREFIX = owner_of("")
_ENDS = {"aborted": "rollouts.abort", "succeeded": "rollouts.finish", "rolled_back": "rollouts.finish"}
"""What the controller does when it takes a rollout to a state; everything else is `rollouts.advance`."""


def reconcile_rollouts(database: Database, now: datetime) -> bool:
    """Take one step in each rollout that is not over; return whether anything changed."""
    with database.session() as session:
        open_ids = set(session.exec(select(Rollout.id).where(col(Rollout.ended_at).is_(None))).all())
        leased = {user.removeprefix(_PREFIX) for user in lease_users(session) if user.startswith(_PREFIX)}
    has_changed = False
    for rollout_id in sorted(open_ids | leased):
        with database.transaction() as session:
            has_changed |= _step_and_record(session, rollout_id, now)
    return has_changed


def step_rollout(session: Session, rollout_id: str, now: datetime, *, abort_reason: str = "") -> bool:
    """Take one step in one rollout, inside the session's transaction; return whether anything changed.

    Args:
        session: An open transaction; the rollout stays locked until its end.
        rollout_id: The rollout.
        now: The clock.
        abort_reason: Given, the step is to abort it.
    """
    row = session.get_one(Rollout, rollout_id, with_for_update=True)
    view = view_rollout(session, row, now)
    wanted = select(Deployment).where(Deployment.rollout_id == rollout_id)
    deployments = {one.id: one for one in session.exec(wanted.order_by(col(Deployment.wave), col(Deployment.id))).all()}
    attempts = [view_deployment(one) for one in deployments.values()]
    facts = StoredFacts(session, view, attempts)
    advanced = advance(view, attempts, facts, now, lambda: new_id("dp"), abort_reason=abort_reason)
    changed = [after for before, after in zip(attempts, advanced.attempts, strict=True) if before != after]
    if not changed and not advanced.effects and advanced.rollout == view:
        return False
    for attempt in changed:
        _keep_attempt(session, deployments[attempt.id], attempt)
    _keep_rollout(session, row, advanced.rollout)
    _apply(session, view, advanced.effects, now)
    announce(session, "rollouts")
    return True


def _step_and_record(session: Session, rollout_id: str, now: datetime) -> bool:
    """Take a step that nobody asked for: where the rollout itself gets further by it, that is audited."""
    row = session.get_one(Rollout, rollout_id, with_for_update=True)
    before = _progress(row)
    has_changed = step_rollout(session, rollout_id, now)
    after = _progress(row)
    changed = [name for name in after if before[name] != after[name]]
    if changed:
        was, is_now = {name: before[name] for name in changed}, {name: after[name] for name in changed}
        action = _ENDS.get(row.state, "rollouts.advance")
        record(session, CONTROLLER, action, f"rollouts/{rollout_id}", was, is_now)
    return has_changed


def _progress(row: Rollout) -> dict[str, Any]:
    return {"state": row.state, "current_wave": row.current_wave, "reason": row.reason}


def view_rollout(session: Session, row: Rollout, now: datetime) -> RolloutView:
    """Return a rollout as a value, with the targets that its version has variants for."""
    wanted = select(VariantRow.target, Version.is_encrypted).join(
        Version, col(Version.id) == col(VariantRow.version_id)
    )
    found = session.exec(wanted.where(Version.model == row.model, Version.number == row.version)).all()
    return RolloutView(
        id=row.id,
        model=row.model,
        version=row.version,
        manifest=ArtifactRef(sha256=row.manifest_sha256, size_bytes=row.manifest_size_bytes),
        targets=frozenset(target for target, _ in found),
        is_encrypted=any(is_encrypted for _, is_encrypted in found),
        is_waiting_for_deltas=is_waiting_for_deltas(session, row, now),
        state=row.state,
        wave_count=len(row.waves),
        current_wave=row.current_wave,
        max_failures=row.max_failures,
        timeout_s=row.timeout_s,
        ended_at=row.ended_at,
        reason=row.reason,
    )


def view_deployment(row: Deployment) -> Attempt:
    """Return a deployment as a value."""
    return Attempt(
        id=row.id,
        device_id=row.device_id,
        wave=row.wave,
        state=row.state,
        target=row.target,
        step=row.step,
        from_version=row.from_version,
        from_body=DesiredModel.model_validate(row.from_body) if row.from_body is not None else None,
        rollback_id=row.rollback_id,
        problem=Problem.model_validate(row.problem) if row.problem is not None else None,
        assigned_at=row.assigned_at,
        ended_at=row.ended_at,
    )


def _keep_rollout(session: Session, row: Rollout, view: RolloutView) -> None:
    row.state, row.current_wave, row.ended_at, row.reason = (
        view.state,
        view.current_wave,
        view.ended_at,
        view.reason,
    )
    session.add(row)


def _keep_attempt(session: Session, row: Deployment, attempt: Attempt) -> None:
    row.state, row.target, row.step = attempt.state, attempt.target, attempt.step
    row.from_version, row.rollback_id = attempt.from_version, attempt.rollback_id
    row.from_body = attempt.from_body.model_dump(mode="json") if attempt.from_body is not None else None
    row.problem = attempt.problem.model_dump(mode="json") if attempt.problem is not None else None
    row.assigned_at, row.ended_at = attempt.assigned_at, attempt.ended_at
    session.add(row)


def _apply(session: Session, rollout: RolloutView, effects: Sequence[Effect], now: datetime) -> None:
    owner = owner_of(rollout.id)
    for effect in effects:
        match effect:
            case SetIntent(device_id, kind, body):
                _supersede(session, device_id, rollout.section)
                set_intent(session, device_id, rollout.section, kind=kind, owner=owner, body=body, now=now)
            case DropIntent(device_id):
                drop_intents(session, device_id, section=rollout.section, owner=owner)
            case TakeLease(body):
                take_leases(session, owner, model_artifacts(session, rollout.model, body), now)
            case DropLeases():
                drop_leases(session, owner)
            case Record(kind, message, severity, device_id):
                record_event(session, kind, message, subject=owner, severity=severity, device_id=device_id, at=now)


def _supersede(session: Session, device_id: str, section: str) -> None:
    """Take away what earlier rollouts and rollbacks want of the section, so that one stands."""
    for one in intents_of(session, device_id, section):
        if one.kind in {"rollout", "rollback"}:
            drop_intents(session, device_id, section=section, owner=one.owner)
