"""Intents: the one way in which a feature says what it wants of a device."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import JSON, String, bindparam, cast, func, insert, or_, true
from sqlalchemy import select as select_columns
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete, select

from shoal_contract.batch_jobs import DesiredBatch
from shoal_contract.benchmarks import DesiredBenchmark
from shoal_contract.captures import DesiredCaptures
from shoal_contract.compositions import DesiredComposition
from shoal_contract.desired import DesiredConfig, DesiredModel, DesiredRound, DesiredSite, DesiredTrial
from shoal_contract.features import DesiredFeatures
from shoal_hub.audit.changes import is_watched
from shoal_hub.bulk import Bulk, Query
from shoal_hub.database import JsonText, announce, as_texts, is_among
from shoal_hub.devices.compose import (
    BATCHES,
    BENCHMARKS,
    CAPTURES,
    COMPOSITIONS,
    CONFIG,
    FEATURES,
    FEDERATED,
    MODELS,
    SITE,
    TRIALS,
    Wanted,
)
from shoal_hub.devices.desired_tables import StaleDesired
from shoal_hub.devices.tables import Intent, IntentKind
from shoal_hub.errors import InvalidInputError
from shoal_hub.tracing.remembered import remember_desired

_URGENT: Final[frozenset[IntentKind]] = frozenset({"pin", "rollback"})
"""What a device fetches although its month's byte budget is spent."""
Body = (
    DesiredModel
    | DesiredRound
    | DesiredTrial
    | DesiredComposition
    | DesiredBatch
    | DesiredBenchmark
    | DesiredConfig
    | DesiredSite
    | DesiredFeatures
    | DesiredCaptures
)


def set_intent(
    session: Session,
    device_id: str,
    section: str,
    *,
    kind: IntentKind,
    owner: str,
    body: Body,
    now: datetime,
    until: datetime | None = None,
) -> None:
    """Say what `owner` wants of one section of a device; it replaces what the same owner wanted of it before.

    Args:
        session: An open transaction; the desired state follows when it has been committed.
        device_id: The device.
        section: `models/<name>`, `federated/<run>`, `trials/<model>`, `compositions/<name>`, `batches/<name>`,
            `benchmarks/<name>`, `config`, `site`, `features` or `captures`, matching it.
        kind: Decides who wins where several owners want a section.
        owner: Who wants it, like `rollout/r-abcdefgh`.
        body: The section's content.
        now: The clock.
        until: When the intent ends by itself.

    Raises:
        InvalidInputError: The section is not one for this body.
    """
    _require_fit(device_id, section, body)
    drop_intents(session, device_id, section=section, owner=owner)
    body = _urgent_if(kind, body)
    session.add(
        Intent(
            device_id=device_id,
            section=section,
            kind=kind,
            owner=owner,
            body=body.model_dump(mode="json"),
            created_at=now,
            until=until,
        )
    )


def set_intents_of(
    session: Session, owner: str, section: str, *, kind: IntentKind, wanted: Mapping[str, Body], now: datetime
) -> None:
    """Make this all that `owner` wants of one section on any device; devices for which nothing changes are let be.

    Args:
        session: An open transaction; the desired states follow when it has been committed.
        owner: Who wants it.
        section: The section.
        kind: Decides who wins where several owners want it.
        wanted: The section's content by device.
        now: The clock.
    """
    rows = select(Intent.device_id, Intent.body).where(Intent.owner == owner, Intent.section == section)
    standing = dict(session.exec(rows).all())
    drop_section_of(session, standing.keys() - wanted.keys(), owner, section)
    bodies = {one: body for one, body in wanted.items() if not _is_told(standing.get(one), _urgent_if(kind, body))}
    replace_intents(session, section, kind=kind, owner=owner, bodies=bodies, replaces=(), now=now)


def _is_told(standing: Any, body: Body) -> bool:  # noqa: ANN401 - JSON, None for none
    """Whether what stands says what a body says; an earlier hub may have written it without fields that are new."""
    told = body.model_dump(mode="json")
    if standing is None or standing == told:
        return standing is not None
    try:
        return bool(type(body).model_validate(standing).model_dump(mode="json") == told)
    except ValidationError:
        return False


def replace_intents(
    session: Session,
    section: str,
    *,
    kind: IntentKind,
    owner: str,
    bodies: Mapping[str, Body],
    replaces: Collection[IntentKind],
    now: datetime,
    until: datetime | None = None,
) -> None:
    """Say what `owner` wants of one section of many devices, in the place of its own and all intents of some kinds.

    Args:
        session: An open transaction; the desired states follow when it has been committed.
        section: The section, matching the bodies.
        kind: Decides who wins where several owners want the section.
        owner: Who wants it.
        bodies: The section's content by device.
        replaces: Kinds of which no intent is left on these devices, whoever owns it.
        now: The clock.
        until: When the intents end by themselves.

    Raises:
        InvalidInputError: The section is not one for a body.
    """
    for device_id, body in bodies.items():
        _require_fit(device_id, section, body)
    ids = sorted(bodies)
    if ids:
        is_replaced = or_(col(Intent.owner) == owner, col(Intent.kind).in_(sorted(replaces)))
        of_these = is_among(col(Intent.device_id), ids), col(Intent.section) == section
        session.exec(delete(Intent).where(*of_these, is_replaced))
        common = {"section": section, "kind": kind, "owner": owner, "created_at": now, "until": until}
        _add(session, [(one, _urgent_if(kind, bodies[one])) for one in ids], common)
    mark_all_stale(session, ids)


def _add(session: Session, wanted: Sequence[tuple[str, Body]], common: dict[str, Any]) -> None:
    """Add an intent for each device; what is `common` to them are the other columns."""
    if is_watched(session):  # row by row, by keys that the database makes
        session.add_all(Intent(device_id=one, body=body.model_dump(mode="json"), **common) for one, body in wanted)
        return
    session.flush()  # those that were wanted before come before
    rows = [{"device_id": one, "body": JsonText(body.model_dump_json()), **common} for one, body in wanted]
    _ADD.execute(session, rows)


_COLUMNS: Final = ("device_id", "section", "kind", "owner", "body", "created_at", "until")
_ADD: Final = Bulk(insert(Intent).values({name: bindparam(name) for name in _COLUMNS}))


def drop_intents(session: Session, device_id: str, *, section: str | None = None, owner: str | None = None) -> None:
    """Take back intents of a device: those of a section, of an owner, or of both together."""
    statement = delete(Intent).where(col(Intent.device_id) == device_id)
    if section is not None:
        statement = statement.where(col(Intent.section) == section)
    if owner is not None:
        statement = statement.where(col(Intent.owner) == owner)
    session.exec(statement)
    mark_stale(session, device_id)


def drop_intents_of(session: Session, owner: str) -> None:
    """Take back everything that `owner` wants, on all devices."""
    devices = session.exec(select(Intent.device_id).where(Intent.owner == owner).distinct()).all()
    session.exec(delete(Intent).where(col(Intent.owner) == owner))
    mark_all_stale(session, devices)


def drop_section_of(session: Session, device_ids: Collection[str], owner: str, section: str) -> None:
    """Take back what `owner` wants of a section of many devices."""
    if device_ids:
        of_these = is_among(col(Intent.device_id), device_ids), col(Intent.section) == section
        session.exec(delete(Intent).where(*of_these, col(Intent.owner) == owner))
    mark_all_stale(session, device_ids)


def intents_of_each(session: Session, device_ids: Collection[str]) -> dict[str, list[Wanted]]:
    """Return what is wanted of each of these devices, for the composer."""
    wanted: dict[str, list[Wanted]] = {device_id: [] for device_id in device_ids}
    session.flush()
    for device_id, *intent in _OF_EACH.rows(session, ids=as_texts(device_ids)):
        wanted[device_id].append(Wanted(*intent))
    return wanted


_WANTED: Final = ("device_id", "id", "section", "kind", "owner", "body", "created_at", "until")
_OF_EACH: Final = Query(
    select_columns(*(getattr(Intent, name) for name in _WANTED)).where(
        is_among(col(Intent.device_id), bindparam("ids", type_=String()))
    )
)


def intents_of(session: Session, device_id: str, section: str | None = None) -> list[Wanted]:
    """Return what is wanted of a device, for the composer; of one section if it is given."""
    statement = select(Intent).where(Intent.device_id == device_id)
    if section is not None:
        statement = statement.where(Intent.section == section)
    return [_wanted(row) for row in session.exec(statement).all()]


def mark_stale(session: Session, device_id: str) -> None:
    """Have the device's desired state composed again."""
    mark_all_stale(session, [device_id])


def mark_all_stale(session: Session, device_ids: Collection[str]) -> None:
    """Have the desired states of many devices composed again, as `mark_stale` does for one."""
    if device_ids:
        statement = _marking(session.get_bind().dialect.name)
        session.connection().execute(statement, {"ids": as_texts(device_ids)})
        remember_desired(session, device_ids)
    announce(session, "intents")


@cache
def _marking(dialect: str) -> postgresql.Insert | sqlite.Insert:
    """Return the statement that marks devices in their order.

    Its update locks a mark that is there: the controller, about to take it away, waits and then sees our intents.
    """
    ids = bindparam("ids", type_=String())
    is_postgresql = dialect == "postgresql"
    each = func.json_array_elements_text(cast(ids, JSON)) if is_postgresql else func.json_each(ids)
    wanted = select_columns(each.table_valued("value").c.value).where(true())  # SQLite: or ON begins a join's condition
    adding = postgresql.insert(StaleDesired) if is_postgresql else sqlite.insert(StaleDesired)
    statement = adding.from_select(["device_id"], wanted)
    is_marked = {"device_id": statement.excluded.device_id}
    return statement.on_conflict_do_update(index_elements=["device_id"], set_=is_marked)


def _urgent_if(kind: IntentKind, body: Body) -> Body:
    """Return a body that says whether it is fetched although the month's byte budget is spent."""
    is_urgent = kind in _URGENT
    if not isinstance(body, DesiredModel) or body.is_urgent == is_urgent:
        return body
    return body.model_copy(update={"is_urgent": is_urgent})


def _require_fit(device_id: str, section: str, body: Body) -> None:
    if not _fits(section, body):
        raise InvalidInputError(
            f"wanting {type(body).__name__} of section {section!r} of device {device_id}: they do not fit",
            "use models/<name> for a model, federated/<run> for a round, trials/<model> for a trial, "
            "compositions/<name> for a composition, batches/<name> for a batch job, benchmarks/<name> for a benchmark, "
            "config for a configuration, site for a site, features for features, captures for what is asked of samples",
        )


def _fits(section: str, body: Body) -> bool:
    wanted = _SECTIONS[type(body)]
    if isinstance(body, DesiredRound):
        return section == f"{wanted}{body.run}"
    return section.startswith(wanted) if wanted.endswith("/") else section == wanted


_SECTIONS: Final[Mapping[type[Body], str]] = {
    DesiredModel: MODELS,
    DesiredRound: FEDERATED,
    DesiredTrial: TRIALS,
    DesiredComposition: COMPOSITIONS,
    DesiredBatch: BATCHES,
    DesiredBenchmark: BENCHMARKS,
    DesiredConfig: CONFIG,
    DesiredSite: SITE,
    DesiredFeatures: FEATURES,
    DesiredCaptures: CAPTURES,
}


def _wanted(row: Intent) -> Wanted:
    return Wanted(row.id or 0, row.section, row.kind, row.owner, row.body, row.created_at, row.until)
