"""Routes of the history of drift: how inputs have lain over time, and what is behind drift."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import AfterValidator, AwareDatetime, Field
from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_hub.database import utc_now
from shoal_hub.dependencies import Reading, Viewer
from shoal_hub.devices.groups import find_group, member_ids
from shoal_hub.devices.listing import QueryText
from shoal_hub.devices.matching import matching_ids
from shoal_hub.devices.query import parse_query
from shoal_hub.drift_history.cause import Question, find_cause
from shoal_hub.drift_history.history import DEFAULT, MAX_PERIODS, Asked, read_history
from shoal_hub.drift_history.periods import FLEET, LENGTH, Whose
from shoal_hub.drift_history.public import DriftCause, DriftHistory
from shoal_hub.drift_history.stored import Version
from shoal_hub.drift_history.tables import Span
from shoal_hub.drift_history.watched import Watched, find_watched
from shoal_hub.error_response import documented
from shoal_hub.errors import InvalidInputError, NotFoundError
from shoal_hub.monitoring.tables import DriftSignal
from shoal_hub.registry.tables import Version as VersionRow
from shoal_hub.requests import Line, RowNumber


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


router = APIRouter(prefix="/drift", tags=["monitoring"])

Time = Annotated[
    AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), le=datetime(2200, 1, 1, tzinfo=UTC)), AfterValidator(_utc)
]
"""A time with its zone, in a century in which there are windows."""
_SCOPES: Final = ("device", "group", "tag", "query")
MAX_NAMED: Final = 64
"""Features that may be asked for by name."""


@router.get("/history", responses=documented(401, 403, 404, 422))
def read_drift_history(
    session: Reading,
    _viewer: Viewer,
    model: Line,
    version: RowNumber | None = None,
    by: Span = "day",
    since: Time | None = None,
    until: Time | None = None,
    device: Line | None = None,
    group: Line | None = None,
    tag: Line | None = None,
    query: QueryText | None = None,
    feature: Annotated[list[Line] | None, Query(max_length=MAX_NAMED)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 30,
) -> DriftHistory:
    """Return how a version's inputs have lain against its baseline, by hour or day.

    Without a version, of the latest. Of the fleet; or of a device, a group, the value of a tag (`site=paris`) or the
    devices that match a query now. A group that is no device's home, and a query, are answered by the scores of the
    devices' days alone. Without features by name, those with the largest distances.
    """
    number = version or _latest(session, model)
    watched = _watched(session, model, number)
    end = until or utc_now()
    begin = since or end - DEFAULT[by]
    _check_time(begin, end, by)
    names = {one.name for one in watched.baseline.features}
    unknown = sorted(set(feature or ()) - names)
    if unknown:
        msg = f"reading the history of {model} version {number}: it has no feature {', '.join(unknown)[:200]}"
        raise InvalidInputError(msg, f"take one of {', '.join(sorted(names))[:300]}")
    stored = Version(session, model, number, watched)
    whose, devices, of = _scope(session, stored, by, (begin, end), device=device, group=group, tag=tag, query=query)
    return read_history(stored, Asked(by, begin, end, whose, devices, of, feature, limit))


@router.get("/cause", responses=documented(401, 403, 404, 422))
def read_drift_cause(
    session: Reading,
    _viewer: Viewer,
    signal: Line | None = None,
    model: Line | None = None,
    version: RowNumber | None = None,
    at: Time | None = None,
    devices: Annotated[int, Query(ge=1, le=1000)] = 20,
    features: Annotated[int, Query(ge=1, le=1000)] = 30,
    histograms: Annotated[int, Query(ge=0, le=64)] = 6,
) -> DriftCause:
    """Return what is behind a drift signal, or behind drift of a version at a time: now, or the time given.

    It says which features lead, by all tests; which devices show it and what these have in common; since when; and how
    the histograms of the features that lead were before and are since then.
    """
    if (signal is None) == (model is None):
        msg = f"explaining drift: {'both' if signal else 'neither'} a signal and a model found, expected one of them"
        raise InvalidInputError(msg, "give signal=ds-…, or model=NAME with version=NUMBER")
    if signal is not None:
        row = session.get(DriftSignal, signal)
        if row is None:
            raise NotFoundError(f"no drift signal {signal}", "list them: shoal drift list")
        model, number = row.model, row.version
        moment = at or (utc_now() if row.state == "active" else row.raised_at)
        question = Question(moment, row, devices, features, histograms)
    else:
        model = model or ""
        number = version or _latest(session, model)
        question = Question(at or utc_now(), None, devices, features, histograms)
    return find_cause(session, Version(session, model, number, _watched(session, model, number)), question)


def _scope(
    session: Session,
    stored: Version,
    by: Span,
    times: tuple[datetime, datetime],
    *,
    device: str | None,
    group: str | None,
    tag: str | None,
    query: str | None,
) -> tuple[Whose | None, set[str] | None, str]:
    """Return whose history is wanted: a scope that has one of its own, or devices."""
    given = [name for name, value in zip(_SCOPES, (device, group, tag, query), strict=True) if value]
    if len(given) > 1:
        msg = f"reading the history of {stored.model}: {' and '.join(given)} found, expected one of them"
        raise InvalidInputError(msg, "narrow a query instead, as in group = north and tags.site = paris")
    if device:
        return Whose("device", device), None, f"device {device}"
    if group and stored.has(by, Whose("group", group), *times):
        return Whose("group", group), None, f"group {group}"
    if tag:
        if not stored.has(by, Whose("tag", tag), *times):
            msg = f"no history of devices with the tag {tag} in this time"
            raise NotFoundError(msg, "name the tag in SHOAL_DRIFT_COHORT_TAGS, or give query='tags.NAME = VALUE'")
        return Whose("tag", tag), None, f"tag {tag}"
    if not group and not query:
        return FLEET, None, "fleet"
    if by != "day":
        msg = f"reading the history of {stored.model}: by {by} found, expected by day: these devices have no other"
        raise InvalidInputError(msg, "ask for by=day, or for a group that is devices' home")
    if group:
        return None, set(member_ids(session, find_group(session, group), utc_now())), f"group {group}"
    text = query or ""
    return None, set(matching_ids(session, parse_query(text), utc_now())), f"query {text}"


def _check_time(since: datetime, until: datetime, by: Span) -> None:
    doing = "reading the history of drift"
    if since >= until:
        raise InvalidInputError(f"{doing}: it begins at {since.isoformat()} and ends at {until.isoformat()}")
    if (until - since) / LENGTH[by] > MAX_PERIODS:
        msg = f"{doing}: more than {MAX_PERIODS} {by}s from {since.isoformat()} to {until.isoformat()}"
        raise InvalidInputError(msg, "ask for a shorter time, or by=day")


def _latest(session: Session, model: str) -> int:
    wanted: Any = select_columns(func.max(VersionRow.number)).where(col(VersionRow.model) == model)
    found: int | None = session.connection().execute(wanted).scalar()
    if found is None:
        raise NotFoundError(f"no model {model} with a version", "list them: shoal models list")
    return found


def _watched(session: Session, model: str, version: int) -> Watched:
    watched = find_watched(session, model, version)
    if watched is None:
        raise NotFoundError(f"{model} has no version {version}", f"list them: shoal models show {model}")
    return watched
