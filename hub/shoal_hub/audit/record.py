"""Appends entries to the trail, in the transaction of the change itself and as its last step.

The chain needs one order. On SQLite writers come one after the other anyway; on PostgreSQL an advisory lock is taken
right before the commit, when the transaction waits for nothing any more, so that it can be part of no deadlock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import event
from sqlmodel import Session, col, select

from shoal_hub.audit.actor import DEVICE_ROLE, ENROLMENT_ROLE, SYSTEM_ROLE, Actor
from shoal_hub.audit.entry import START, Entry, canonical_json, hash_entry
from shoal_hub.audit.tables import AuditEntry
from shoal_hub.database import AdvisoryLock, announce, hold, utc_now

WAKE: Final = "audit"
"""The word that has the controller anchor the trail at once."""
ANSWERS: Final = "audit answers"
"""Key in `Session.info`: the session is that of a request, which has an entry of its own."""
_PENDING: Final = "audit pending"
_MAX_NAME_CHARS: Final = 256
_MAX_SUBJECT_CHARS: Final = 1024


@dataclass(frozen=True)
class _Pending:
    actor: Actor
    action: str
    subject: str
    before: str
    after: str


def record(
    session: Session, actor: Actor, action: str, subject: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Have an entry appended when the session commits; nothing is kept if it does not.

    Changes by a person or by the hub itself are anchored at once, enrolments and renewals within the minute.
    What a part of the hub does in the session of a request is in the request's one entry, which shows who asked.

    Args:
        session: An open transaction.
        actor: Who.
        action: What, like `rollouts.abort`.
        subject: Of what, like `rollouts/r-abcdefgh`.
        before: What it was, JSON values by name.
        after: What it is now.
    """
    if actor.role == SYSTEM_ROLE and session.info.get(ANSWERS):
        return
    note(session, actor, action, subject, before, after)
    if not event.contains(session, "before_commit", append_pending):
        event.listen(session, "before_commit", append_pending)


def note(
    session: Session, actor: Actor, action: str, subject: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Do as `record` does, for a caller that appends by itself when the session commits."""
    pending = _Pending(_bounded(actor), action, _text(subject, _MAX_SUBJECT_CHARS), _json(before), _json(after))
    session.info.setdefault(_PENDING, []).append(pending)
    if actor.role not in {ENROLMENT_ROLE, DEVICE_ROLE}:
        announce(session, WAKE)


def append_pending(session: Session) -> None:
    """Append what was recorded in this session; called when it commits."""
    if session.in_nested_transaction() or not (pending := session.info.pop(_PENDING, [])):
        return
    session.flush()
    hold(session, AdvisoryLock.AUDIT)
    newest = select(AuditEntry.sequence, AuditEntry.sha256).order_by(col(AuditEntry.sequence).desc()).limit(1)
    sequence, head = session.exec(newest).first() or (0, START)
    for one in pending:
        sequence += 1
        entry = _entry(one, sequence, head, utc_now())
        session.add(AuditEntry(**vars(entry)))
        head = entry.sha256


def _entry(pending: _Pending, sequence: int, previous: str, at: datetime) -> Entry:
    entry = Entry(
        sequence=sequence,
        at=at,
        actor_id=pending.actor.id,
        actor_name=pending.actor.name,
        actor_role=pending.actor.role,
        actor_address=pending.actor.address,
        action=pending.action,
        subject=pending.subject,
        before=pending.before,
        after=pending.after,
        previous_sha256=previous,
    )
    return replace(entry, sha256=hash_entry(entry))


def _bounded(actor: Actor) -> Actor:
    parts = (actor.id, actor.name, actor.role, actor.address)
    return Actor(*(_text(part, _MAX_NAME_CHARS) for part in parts))


def _text(value: str, most_chars: int) -> str:
    """Return text that both databases can keep: no NUL, no half surrogate pair."""
    return value.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")[:most_chars]


def _json(value: Mapping[str, Any]) -> str:
    return canonical_json(dict(value))
