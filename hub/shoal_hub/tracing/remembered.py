"""Which span a job, a rollout or a desired state follows from, in the database: between processes and over restarts."""

import time
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import JSON, ColumnElement, String, bindparam, cast, func, true
from sqlalchemy import select as select_columns
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete, select

from shoal_contract.trace_context import TraceContext
from shoal_hub.bulk import Query
from shoal_hub.database import Database, UtcDateTime, as_texts, is_among, utc_now
from shoal_hub.tracing.spans import Attributes, current, is_tracing, span_if_needed, trace_life
from shoal_hub.tracing.tables import TraceContextRow

_PRUNE_S: Final = 600.0
_DESIRED: Final = "desired/"
_SUBJECTS: Final = bindparam("subjects", type_=String())
_COLUMNS: Final = ("subject", "trace_id", "span_id", "at")


def remember(session: Session, *subjects: str) -> None:
    """Have what comes of these things follow from the present span, and of no earlier one; nothing if none is made.

    Args:
        session: An open transaction.
        subjects: Like `rollout/r-abcdefgh`.
    """
    if not is_tracing() or not subjects:
        return
    session.flush()
    context = current()
    if context is None:
        session.connection().execute(_DROP, {"subjects": as_texts(subjects)})
        return
    values = {"trace_id": context.trace_id, "span_id": context.span_id, "at": utc_now()}
    statement = _replacing(session.get_bind().dialect.name)
    session.connection().execute(statement, {"subjects": as_texts(subjects), **values})


def remember_desired(session: Session, device_ids: Collection[str]) -> None:
    """Have the desired states of these devices follow from the present span."""
    remember(session, *(_DESIRED + device_id for device_id in device_ids))


def recall(session: Session, subjects: Collection[str]) -> dict[str, TraceContext]:
    """Return what these things follow from, of those that follow from anything that is not long over."""
    if not is_tracing() or not subjects:
        return {}
    found = _RECALL.rows(session, subjects=as_texts(subjects), since=utc_now() - trace_life())
    return {subject: TraceContext(trace_id, span_id, is_sampled=True) for subject, trace_id, span_id in found}


def recall_desired(session: Session, device_ids: Collection[str]) -> dict[str, TraceContext]:
    """Return what the desired states of these devices follow from, by device."""
    found = recall(session, [_DESIRED + device_id for device_id in device_ids])
    return {subject.removeprefix(_DESIRED): context for subject, context in found.items()}


def known_traces(session: Session, trace_ids: Collection[str]) -> set[str]:
    """Return those of these traces that the hub has told anybody of: a device can make up any others."""
    if not is_tracing() or not trace_ids:
        return set()
    return {one for (one,) in _KNOWN.rows(session, ids=as_texts(trace_ids))}


def following(session: Session, subject: str, name: str, attributes: Attributes) -> AbstractContextManager[None]:
    """Return a block whose work follows from what a thing follows from; it becomes a span if it comes to anything.

    Args:
        session: An open session.
        subject: The thing.
        name: Of the span.
        attributes: Of the span.
    """
    context = recall(session, [subject]).get(subject)
    return nullcontext() if context is None else span_if_needed(name, context, attributes)


class TracePruner:
    """Forgets what is long over; one of the controller's chores."""

    def __init__(self, database: Database, life: timedelta) -> None:
        self._database = database
        self._life = life
        self._due_s = float("-inf")

    def step(self, now: datetime) -> int:
        """Delete some, now and then; return how many."""
        if time.monotonic() < self._due_s:
            return 0
        self._due_s = time.monotonic() + _PRUNE_S
        over = col(TraceContextRow.at) < now - self._life
        with self._database.session() as session:
            is_any = session.exec(select(TraceContextRow.subject).where(over).limit(1)).first() is not None
        if not is_any:
            return 0
        with self._database.transaction() as session:
            return session.exec(delete(TraceContextRow).where(over)).rowcount


_DROP: Final = delete(TraceContextRow).where(is_among(col(TraceContextRow.subject), _SUBJECTS))


@cache
def _replacing(dialect: str) -> postgresql.Insert | sqlite.Insert:
    """Return the statement that adds rows of several subjects, or puts them in the place of those that are there.

    Two processes may do it of the same subjects at the same time; each goes through them in their order.
    """
    is_postgresql = dialect == "postgresql"
    each = func.json_array_elements_text(cast(_SUBJECTS, JSON)) if is_postgresql else func.json_each(_SUBJECTS)
    columns: list[ColumnElement[Any]] = [each.table_valued("value").c.value]
    columns += [bindparam("trace_id", type_=String()), bindparam("span_id", type_=String())]
    columns += [bindparam("at", type_=UtcDateTime())]
    wanted = select_columns(*columns).where(true())  # SQLite: or ON begins a join's condition
    adding = postgresql.insert(TraceContextRow) if is_postgresql else sqlite.insert(TraceContextRow)
    statement = adding.from_select(list(_COLUMNS), wanted)
    new = {name: statement.excluded[name] for name in _COLUMNS[1:]}
    return statement.on_conflict_do_update(index_elements=["subject"], set_=new)


_RECALL: Final = Query(
    select_columns(col(TraceContextRow.subject), col(TraceContextRow.trace_id), col(TraceContextRow.span_id)).where(
        is_among(col(TraceContextRow.subject), _SUBJECTS),
        col(TraceContextRow.at) > bindparam("since", type_=UtcDateTime()),
    )
)
_KNOWN: Final = Query(
    select_columns(col(TraceContextRow.trace_id))
    .where(is_among(col(TraceContextRow.trace_id), bindparam("ids", type_=String())))
    .distinct()
)
