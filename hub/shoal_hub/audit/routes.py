"""Routes of the audit trail: list, look at one entry, verify, export. Nothing here writes."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import ColumnElement
from sqlmodel import col, or_, select

from shoal_contract.wire import UtcTime
from shoal_hub.audit.actor import DEVICE_ROLE, ENROLMENT_ROLE, SYSTEM_ROLE
from shoal_hub.audit.anchor import AnchorFile
from shoal_hub.audit.chain import Report, examine
from shoal_hub.audit.export import csv_lines, entries_of, json_lines
from shoal_hub.audit.key import read_public
from shoal_hub.audit.tables import AuditEntry
from shoal_hub.dependencies import Hub, Reading, Viewer
from shoal_hub.error_response import documented
from shoal_hub.errors import NotFoundError
from shoal_hub.requests import Line

router = APIRouter(prefix="/audit", tags=["audit"])

By = Literal["people", "devices", "hub"]
Sequence = Annotated[int, Query(ge=0, le=2**63 - 1)]


class EntryPublic(BaseModel):
    """One change: who, what, before, after, when, from where."""

    sequence: int
    at: datetime
    actor_id: str
    actor_name: str
    actor_role: str
    actor_address: str
    action: str
    subject: str
    before: dict[str, Any]
    after: dict[str, Any]
    previous_sha256: str
    sha256: str


@router.get("", responses=documented(401, 403, 422))
def list_entries(
    session: Reading,
    _viewer: Viewer,
    actor: Line | None = None,
    by: By | None = None,
    action: Line | None = None,
    subject: Line | None = None,
    since: UtcTime | None = None,
    until: UtcTime | None = None,
    after: Sequence | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[EntryPublic]:
    """List entries in order: the first after `after`, or without it the last `limit`.

    `actor` is an id or a name; `by` is who acts: people, devices, or the hub by itself; `subject` also takes in all
    below it, like `models/digits`.
    """
    number = col(AuditEntry.sequence)
    wanted = select(AuditEntry).where(*_filters(actor, by, action, subject), *_between(since, until))
    if after is not None:
        rows = list(session.exec(wanted.where(number > after).order_by(number).limit(limit)))
    else:
        rows = list(session.exec(wanted.order_by(number.desc()).limit(limit)))[::-1]
    return [_public(row) for row in rows]


@router.get("/verify", responses=documented(401, 403))
def verify_trail(hub: Hub, _viewer: Viewer) -> Report:
    """Check the whole trail against its chain, the file of anchors and the anchor that the broker keeps."""
    key = read_public(hub.settings.data / "trust")
    lines = AnchorFile(hub.settings.data).lines()
    return examine(entries_of(hub.database), lines, key, hub.kept_anchor.envelope)


@router.get("/export", response_class=StreamingResponse, responses=documented(401, 403, 422))
def export_trail(hub: Hub, _viewer: Viewer, form: Literal["jsonl", "csv"] = "jsonl") -> StreamingResponse:
    """Return the whole trail as JSON lines, which can be verified offline, or as CSV."""
    lines = csv_lines(hub.database) if form == "csv" else json_lines(hub.database)
    media_type = "text/csv; charset=utf-8" if form == "csv" else "application/x-ndjson"
    headers = {"content-disposition": f'attachment; filename="audit.{form}"', "cache-control": "no-store"}
    return StreamingResponse(lines, media_type=media_type, headers=headers)


@router.get("/{sequence}", responses=documented(401, 403, 404, 422))
def read_entry(sequence: Annotated[int, Path(ge=1, le=2**63 - 1)], session: Reading, _viewer: Viewer) -> EntryPublic:
    """Return one entry."""
    row = session.get(AuditEntry, sequence)
    if row is None:
        raise NotFoundError(f"no audit entry {sequence}", "list them: shoal audit list")
    return _public(row)


def _filters(
    actor: str | None, by: By | None, action: str | None, subject: str | None
) -> Iterator[ColumnElement[bool]]:
    if actor is not None:
        yield or_(col(AuditEntry.actor_id) == actor, col(AuditEntry.actor_name) == actor)
    if by is not None:
        yield _is_by(by)
    if action is not None:
        yield col(AuditEntry.action) == action
    if subject is not None:
        named = col(AuditEntry.subject)
        yield or_(named == subject, named.startswith(f"{subject}/", autoescape=True))


def _between(since: datetime | None, until: datetime | None) -> Iterator[ColumnElement[bool]]:
    if since is not None:
        yield col(AuditEntry.at) >= since
    if until is not None:
        yield col(AuditEntry.at) < until


def _is_by(by: By) -> ColumnElement[bool]:
    role = col(AuditEntry.actor_role)
    match by:
        case "hub":
            return role == SYSTEM_ROLE
        case "devices":
            return role.in_((DEVICE_ROLE, ENROLMENT_ROLE))
        case "people":
            return role.not_in((SYSTEM_ROLE, DEVICE_ROLE, ENROLMENT_ROLE))


def _public(row: AuditEntry) -> EntryPublic:
    plain = vars(row.to_entry()) | {"before": json.loads(row.before), "after": json.loads(row.after)}
    return EntryPublic(**plain)
