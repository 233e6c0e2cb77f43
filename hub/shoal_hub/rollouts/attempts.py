"""Deployments as the values that the decision works with, and back: read and written by column, many at once.

Only what has changed is written: ingest notes devices' steps in the same rows.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeAlias

from pydantic import BaseModel
from sqlalchemy import ColumnElement, and_, bindparam, or_
from sqlmodel import Session, col, select, update

from shoal_contract.desired import DesiredModel
from shoal_contract.reported import Problem
from shoal_hub.bulk import Bulk
from shoal_hub.database import JsonText, in_parts, is_among
from shoal_hub.rollouts.revert import WAY_BACK
from shoal_hub.rollouts.tables import Deployment
from shoal_hub.rollouts.views import Attempt

Change: TypeAlias = tuple[Attempt, Attempt]
"""An attempt before and after a step."""

_SAME: Final = (
    "state",
    "target",
    "step",
    "from_version",
    "rollback_id",
    "failure",
    "waits_for",
    "tries",
    "is_settled",
    "assigned_at",
    "ended_at",
)
"""Fields that are columns as they are."""
_SEEN: Final = ("seen_connection", "seen_sequence")
_FIXED: Final = ("id", "device_id", "wave")
COLUMNS: Final = tuple(getattr(Deployment, name) for name in (*_FIXED, *_SAME, *_SEEN, "from_body", "problem"))
"""What `view_attempt` reads of a deployment."""
_same_of: Final = attrgetter(*_SAME)


def view_attempt(row: Sequence[Any]) -> Attempt:
    """Return a deployment as a value.

    Args:
        row: Of `COLUMNS`, and whatever follows them.
    """
    deployment, device_id, wave, *same, connection, sequence, from_body, problem = row[: len(COLUMNS)]
    return Attempt(
        deployment,
        device_id,
        wave,
        **dict(zip(_SAME, same, strict=True)),
        from_body=DesiredModel.model_validate(from_body) if from_body is not None else None,
        problem=Problem.model_validate(problem) if problem is not None else None,
        seen=(connection, sequence),
    )


def is_returning() -> ColumnElement[bool]:
    """Whether a deployment's device was told to go back and has not said how that went; see `is_waiting_to_return`."""
    has_stayed = and_(col(Deployment.state) == "failed", col(Deployment.step) == WAY_BACK)
    return and_(col(Deployment.rollback_id).is_not(None), ~or_(col(Deployment.state) == "rolled_back", has_stayed))


def keep_attempts(session: Session, changes: Iterable[Change]) -> None:
    """Write what has changed of attempts, with a statement for all in which the same columns have."""
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for before, after in changes:
        values = _changed(before, after, _as_text)
        if values:
            named = {f"new_{name}": value for name, value in values.items()}
            by_columns.setdefault(tuple(values), []).append(named | {"of_deployment": after.id})
    # Ingest writes these rows by their order: two writers then wait for each other in turn. SQLite has one at a time.
    if len(by_columns) > 1 and session.get_bind().dialect.name != "sqlite":
        ids = [row["of_deployment"] for rows in by_columns.values() for row in rows]
        locking: Any = select(Deployment.id).where(is_among(col(Deployment.id), ids))
        session.exec(locking.order_by(Deployment.id).with_for_update()).all()
    for names, rows in by_columns.items():
        _update(names).execute(session, rows)


def keep_audited(session: Session, changes: Sequence[Change]) -> None:
    """Write the same through the session's objects, as a transaction must that the audit trail follows row by row."""
    values = {after.id: _changed(before, after, _as_object) for before, after in changes}
    for part in in_parts(values):
        wanted = select(Deployment).where(col(Deployment.id).in_(part))
        for row in session.exec(wanted):
            for name, value in values[row.id].items():
                setattr(row, name, value)
            session.add(row)


def _as_text(value: BaseModel) -> JsonText:
    return JsonText(value.model_dump_json())


def _as_object(value: BaseModel) -> Any:  # noqa: ANN401 - JSON
    return value.model_dump(mode="json")


def _changed(before: Attempt, after: Attempt, to_json: Callable[[BaseModel], Any]) -> dict[str, Any]:
    """Return the columns that differ, with what is in them after."""
    same = zip(_SAME, _same_of(before), _same_of(after), strict=True)
    values: dict[str, Any] = {name: is_now for name, was, is_now in same if was != is_now}
    if before.seen != after.seen:
        values |= zip(_SEEN, after.seen, strict=True)
    for name in ("from_body", "problem"):
        value: DesiredModel | Problem | None = getattr(after, name)
        was: DesiredModel | Problem | None = getattr(before, name)
        if value is not was and value != was:
            values[name] = to_json(value) if value is not None else None
    return values


@lru_cache(maxsize=256)
def _update(names: tuple[str, ...]) -> Bulk:
    statement = update(Deployment).where(col(Deployment.id) == bindparam("of_deployment"))
    return Bulk(statement.values({name: bindparam(f"new_{name}") for name in names}))
