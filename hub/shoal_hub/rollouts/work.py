"""Finds the deployments of a rollout that may change in a step, and counts all: a step costs as much as has changed.

Each device's report is looked at once: a deployment notes which one it has seen (`seen_connection`, `seen_sequence`).
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import ColumnElement, Integer, and_, bindparam, case, exists, false, null, or_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func

from shoal_hub.bulk import Query
from shoal_hub.database import is_one_of
from shoal_hub.devices.tables import PIN, Device, Intent
from shoal_hub.rollouts.attempts import COLUMNS, is_returning, view_attempt
from shoal_hub.rollouts.facts import DEVICE_COLUMNS, DeviceRow
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.patience import begun_before
from shoal_hub.rollouts.revert import WAY_BACK
from shoal_hub.rollouts.tables import Deployment, DeploymentState, RolloutState
from shoal_hub.rollouts.tally import OPEN, Standing, Tally
from shoal_hub.rollouts.views import Attempt, RolloutView

BATCH: Final = 2000
"""Deployments of one kind of change that one step takes; the rest follows in the next one."""
_UNTOLD: Final[tuple[DeploymentState, ...]] = ("pending",)
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any deployment began."""


@dataclass(frozen=True)
class Work:
    """The deployments of one step, their devices as they stood at that moment by id, and whether there are more."""

    attempts: list[Attempt]
    devices: dict[str, DeviceRow]
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
    is_running = rollout.state == "running" and not is_aborting
    may_tell = is_running and _may_tell(rollout, now)
    shape = _Shape.of(rollout, is_aborting=is_aborting, may_tell=may_tell)
    searches = [(one.query, batch) for one in _searches(shape) if tally.has_any(one.states)]
    if may_tell and tally.has_any(_UNTOLD):
        most = rollout.plan.max_in_flight
        room = batch if most is None else max(0, min(batch, most - tally.in_flight))
        searches.append((_untold(), room))
    values = _values(rollout, now)
    found: dict[str, Attempt] = {}
    devices: dict[str, DeviceRow] = {}
    has_more = False
    for search, limit in searches:
        rows = search.rows(session, **values, most=limit) if limit else []
        for row in rows:
            attempt = view_attempt(row)
            found[attempt.id] = attempt
            devices[attempt.device_id] = DeviceRow(*row[len(COLUMNS) :])
        has_more |= len(rows) == batch
    return Work(list(found.values()), devices, has_more)


def count_deployments(session: Session, rollout_id: str) -> Tally:
    """Count all deployments of a rollout by how they stand."""
    counts: Counter[Standing] = Counter()
    for wave, state, failure, begun, returning, away, stayed, count in _counting().rows(session, of_rollout=rollout_id):
        counts[Standing(wave, state, failure, bool(begun), bool(returning), bool(away), bool(stayed))] += count
    return Tally(counts)


class _Shape(NamedTuple):
    """What of a rollout the form of its searches depends on: each form is built once, its values are parameters."""

    state: RolloutState
    is_aborting: bool
    may_tell: bool
    is_left: bool

    @property
    def is_on_the_way(self) -> bool:
        """Whether it has begun, and is not to be aborted."""
        return self.state in {"running", "paused"} and not self.is_aborting

    @classmethod
    def of(cls, rollout: RolloutView, *, is_aborting: bool, may_tell: bool) -> Self:
        """Return the shape of a rollout's searches."""
        is_left = rollout.state != "rolling_back" and rollout.plan.on_abort == "leave"
        return cls(rollout.state, is_aborting, may_tell, is_left)


def _values(rollout: RolloutView, now: datetime) -> dict[str, Any]:
    return {
        "of_rollout": rollout.id,
        "owner": owner_of(rollout.id),
        "section": rollout.section,
        "current_wave": rollout.current_wave,
        "usual_since": begun_before(rollout, now, is_held=False) or _NEVER,
        "held_since": begun_before(rollout, now, is_held=True) or _NEVER,
    }


class _Search(NamedTuple):
    """A search for deployments, and the states in which they are; none for any."""

    query: Query
    states: tuple[DeploymentState, ...] = ()


@cache
def _searches(shape: _Shape) -> tuple[_Search, ...]:
    """Return a search for each kind of change."""
    if shape.is_on_the_way:
        return tuple(_Search(_search(condition), states) for states, condition in _on_the_way(shape))
    return tuple(_Search(_search(condition)) for condition in _changes(shape))


@cache
def _untold() -> Query:
    """Return the search for who is to be told next."""
    return _search(and_(_is("pending"), ~_begun(), col(Deployment.wave) == bindparam("current_wave")))


def _search(condition: ColumnElement[bool]) -> Query:
    wanted: Any = select_columns(*COLUMNS, *DEVICE_COLUMNS).join(Device, col(Device.id) == col(Deployment.device_id))
    chosen = wanted.where(col(Deployment.rollout_id) == bindparam("of_rollout"), condition)
    ordered = chosen.order_by(col(Deployment.wave), col(Deployment.id))
    return Query(ordered.limit(bindparam("most", type_=Integer())))


@cache
def _counting() -> Query:
    columns = (
        col(Deployment.wave),
        col(Deployment.state),
        col(Deployment.failure),
        _flag(_begun()),
        _flag(is_returning()),
        _flag(_away()),
        _flag(_stayed()),
    )
    wanted: Any = select_columns(*columns, func.count()).where(col(Deployment.rollout_id) == bindparam("of_rollout"))
    return Query(wanted.group_by(*columns))


def _changes(shape: _Shape) -> list[ColumnElement[bool]]:
    """Return, for each kind of change at the end and after it, which deployments it may concern."""
    ours = exists().where(col(Intent.owner) == bindparam("owner"), col(Intent.device_id) == col(Deployment.device_id))
    is_back = or_(_changed(), _out(), and_(col(Deployment.from_body).is_not(null()), ~ours))
    returning = and_(is_returning(), is_back)
    if shape.is_aborting or shape.state in {"aborted", "rolling_back"}:
        told = ("failed", "timed_out") if shape.is_left else ("failed", "timed_out", "succeeded")
        to_revert = [
            and_(_is(*OPEN), col(Deployment.rollback_id).is_(None)),
            and_(_is(*told), col(Deployment.rollback_id).is_(None), col(Deployment.target) != "", ours, ~_revoked()),
        ]
        return [*to_revert, returning, and_(_away(), or_(_changed(), _revoked(), ~ours))]
    return [returning, and_(_away(), or_(_changed(), _revoked(), ~ours))]


def _on_the_way(shape: _Shape) -> list[tuple[tuple[DeploymentState, ...], ColumnElement[bool]]]:
    """Return, for each kind of change before the end, in which states it may concern which deployments."""
    is_timed = shape.state == "running"
    is_late = _is_late() if is_timed else false()
    has_reported = col(Device.reported_connection) >= 0 if shape.may_tell else false()
    is_in_turn = col(Deployment.wave) <= bindparam("current_wave")
    return [
        (("assigned", "working"), and_(_is("assigned", "working"), or_(_changed(), _out(), is_late))),
        (("pending",), and_(_is("pending"), is_in_turn, _begun(), or_(has_reported, _out(), is_late))),
        (("succeeded",), and_(_is("succeeded"), _changed())),
    ]


def _is_late() -> ColumnElement[bool]:
    """Whether a deployment's time is over, as `observe` finds: one that is found and stays would be in others' way."""
    begun_at, is_held = col(Deployment.assigned_at), col(Deployment.waits_for) != ""
    return or_(and_(~is_held, begun_at < bindparam("usual_since")), and_(is_held, begun_at < bindparam("held_since")))


def _may_tell(rollout: RolloutView, now: datetime) -> bool:
    start_at = rollout.plan.start_at
    return not rollout.is_waiting_for_deltas and (start_at is None or now >= start_at)


def _is(*states: str) -> ColumnElement[bool]:
    return is_one_of(col(Deployment.state), states)


def _begun() -> ColumnElement[bool]:
    return col(Deployment.assigned_at).is_not(None)


def _changed() -> ColumnElement[bool]:
    """Whether the device has reported since its last report was looked at."""
    return or_(
        col(Device.reported_connection) != col(Deployment.seen_connection),
        col(Device.reported_sequence) != col(Deployment.seen_sequence),
    )


def _out() -> ColumnElement[bool]:
    """Whether no rollout reaches the device any more: it was revoked, or is pinned to a version of the model."""
    pin = exists().where(
        col(Intent.device_id) == col(Deployment.device_id),
        col(Intent.kind) == PIN,
        col(Intent.section) == bindparam("section"),
    )
    return or_(_revoked(), pin)


def _revoked() -> ColumnElement[bool]:
    return col(Device.revoked_at).is_not(None)


def _stayed() -> ColumnElement[bool]:
    return and_(col(Deployment.rollback_id).is_not(None), _is("failed"), col(Deployment.step) == WAY_BACK)


def _away() -> ColumnElement[bool]:
    is_told = and_(_is("timed_out"), col(Deployment.target) != "")
    return and_(is_told, col(Deployment.rollback_id).is_(None), ~col(Deployment.is_settled))


def _flag(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)
