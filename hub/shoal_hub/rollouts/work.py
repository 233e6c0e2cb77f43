"""Finds the deployments of a rollout that may change in a step, and counts all: a step costs as much as has changed.

Each device's report is looked at once: a deployment notes which one it has seen (`seen_connection`, `seen_sequence`).
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, exists, false, null, or_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func

from shoal_hub.devices.tables import Device, Intent
from shoal_hub.rollouts.attempts import COLUMNS, view_attempt
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.patience import begun_before
from shoal_hub.rollouts.revert import WAY_BACK
from shoal_hub.rollouts.tables import Deployment
from shoal_hub.rollouts.tally import OPEN, Standing, Tally
from shoal_hub.rollouts.views import Attempt, RolloutView

BATCH: Final = 2000
"""Deployments of one kind of change that one step takes; the rest follows in the next one."""


@dataclass(frozen=True)
class Work:
    """The deployments of one step, and whether there are more."""

    attempts: list[Attempt]
    has_more: bool


def find_work(
    session: Session,
    rollout: RolloutView,
    tally: Tally,
    now: datetime,
    *,
    is_aborting: bool = False,
    batch: int = BATCH,
) -> Work:
    """Return the deployments that a step may change.

    Args:
        session: An open session.
        rollout: The rollout.
        tally: Its deployments, counted.
        now: The clock.
        is_aborting: Whether the step is to abort it.
        batch: Deployments of one kind of change that are taken at most.
    """
    kinds = [(one, batch) for one in _changes(rollout, now, is_aborting=is_aborting)]
    if rollout.state == "running" and not is_aborting and _may_tell(rollout, now):
        most = rollout.plan.max_in_flight
        room = batch if most is None else max(0, min(batch, most - tally.in_flight))
        kinds.append((and_(_is("pending"), ~_begun(), col(Deployment.wave) == rollout.current_wave), room))
    found: dict[str, Attempt] = {}
    has_more = False
    for condition, limit in kinds:
        rows = _find(session, rollout, condition, limit)
        found |= {row.id: row for row in rows}
        has_more |= len(rows) == batch
    return Work(list(found.values()), has_more)


def count_deployments(session: Session, rollout_id: str) -> Tally:
    """Count all deployments of a rollout by how they stand."""
    columns = (
        col(Deployment.wave),
        col(Deployment.state),
        col(Deployment.failure),
        _flag(_begun()),
        _flag(_returning()),
        _flag(_away()),
        _flag(_stayed()),
    )
    wanted: Any = (
        select_columns(*columns, func.count()).where(col(Deployment.rollout_id) == rollout_id).group_by(*columns)
    )
    counts: Counter[Standing] = Counter()
    for wave, state, failure, begun, returning, away, stayed, count in session.exec(wanted):
        counts[Standing(wave, state, failure, bool(begun), bool(returning), bool(away), bool(stayed))] += count
    return Tally(counts)


def _find(session: Session, rollout: RolloutView, condition: ColumnElement[bool], limit: int) -> list[Attempt]:
    if limit == 0:
        return []
    wanted: Any = select_columns(*COLUMNS).join(Device, col(Device.id) == col(Deployment.device_id))
    chosen = wanted.where(Deployment.rollout_id == rollout.id, condition)
    ordered = chosen.order_by(col(Deployment.wave), col(Deployment.id)).limit(limit)
    return [view_attempt(row) for row in session.connection().execute(ordered)]


def _changes(rollout: RolloutView, now: datetime, *, is_aborting: bool) -> list[ColumnElement[bool]]:
    """Return, for each kind of change, which deployments it may concern."""
    ours = exists().where(col(Intent.owner) == owner_of(rollout.id), col(Intent.device_id) == col(Deployment.device_id))
    is_back = or_(_changed(), _out(rollout), and_(col(Deployment.from_body).is_not(null()), ~ours))
    returning = and_(_returning(), is_back)
    if rollout.state in {"running", "paused"} and not is_aborting:
        return [*_on_the_way(rollout, now)]
    if is_aborting or rollout.state in {"aborted", "rolling_back"}:
        is_left = rollout.state != "rolling_back" and rollout.plan.on_abort == "leave"
        told = ("failed", "timed_out") if is_left else ("failed", "timed_out", "succeeded")
        to_revert = [
            and_(_is(*OPEN), col(Deployment.rollback_id).is_(None)),
            and_(_is(*told), col(Deployment.rollback_id).is_(None), col(Deployment.target) != "", ours, ~_revoked()),
        ]
        return [*to_revert, returning, and_(_away(), or_(_changed(), _revoked(), ~ours))]
    return [returning, and_(_away(), or_(_changed(), _revoked(), ~ours))]


def _on_the_way(rollout: RolloutView, now: datetime) -> list[ColumnElement[bool]]:
    is_timed = rollout.state == "running"
    is_late = _is_late(rollout, now) if is_timed else false()
    has_reported = col(Device.reported_connection) >= 0 if is_timed and _may_tell(rollout, now) else false()
    return [
        and_(_is("assigned", "working"), or_(_changed(), _out(rollout), is_late)),
        and_(
            _is("pending"),
            col(Deployment.wave) <= rollout.current_wave,
            _begun(),
            or_(has_reported, _out(rollout), is_late),
        ),
        and_(_is("succeeded"), _changed()),
    ]


def _is_late(rollout: RolloutView, now: datetime) -> ColumnElement[bool]:
    """Whether a deployment's time is over, as `observe` finds: one that is found and stays would be in others' way."""
    begun_at, is_held = col(Deployment.assigned_at), col(Deployment.waits_for) != ""
    usual, held = (begun_before(rollout, now, is_held=one) for one in (False, True))
    return or_(
        and_(~is_held, begun_at < usual) if usual is not None else false(),
        and_(is_held, begun_at < held) if held is not None else false(),
    )


def _may_tell(rollout: RolloutView, now: datetime) -> bool:
    start_at = rollout.plan.start_at
    return not rollout.is_waiting_for_deltas and (start_at is None or now >= start_at)


def _is(*states: str) -> ColumnElement[bool]:
    return col(Deployment.state).in_(sorted(states))


def _begun() -> ColumnElement[bool]:
    return col(Deployment.assigned_at).is_not(None)


def _changed() -> ColumnElement[bool]:
    """Whether the device has reported since its last report was looked at."""
    return or_(
        col(Device.reported_connection) != col(Deployment.seen_connection),
        col(Device.reported_sequence) != col(Deployment.seen_sequence),
    )


def _out(rollout: RolloutView) -> ColumnElement[bool]:
    """Whether no rollout reaches the device any more: it was revoked, or is pinned to a version of the model."""
    pin = exists().where(
        col(Intent.device_id) == col(Deployment.device_id),
        col(Intent.kind) == "pin",
        col(Intent.section) == rollout.section,
    )
    return or_(_revoked(), pin)


def _revoked() -> ColumnElement[bool]:
    return col(Device.revoked_at).is_not(None)


def _stayed() -> ColumnElement[bool]:
    return and_(col(Deployment.rollback_id).is_not(None), _is("failed"), col(Deployment.step) == WAY_BACK)


def _returning() -> ColumnElement[bool]:
    is_over = or_(_is("rolled_back"), and_(_is("failed"), col(Deployment.step) == WAY_BACK))
    return and_(col(Deployment.rollback_id).is_not(None), ~is_over)


def _away() -> ColumnElement[bool]:
    is_told = and_(_is("timed_out"), col(Deployment.target) != "")
    return and_(is_told, col(Deployment.rollback_id).is_(None), ~col(Deployment.is_settled))


def _flag(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)
