"""Messages that cannot be committed, whatever is done: told and passed over, so that one stops no fleet.

What may pass, like a database that is away, locked or out of disk, is told apart: then nothing is passed over.
"""

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session

from shoal_contract.errors import ContractError
from shoal_contract.reported import Presence, ReportedState
from shoal_contract.telemetry import Event, TelemetryMessage
from shoal_hub.database import once_committed
from shoal_hub.errors import HubError
from shoal_hub.events.record import record_event
from shoal_hub.ingest.receive import Unreadable, UpMessage
from shoal_hub.meters import INGEST_REFUSED

log = logging.getLogger(__name__)

_PASSING: Final = (OperationalError, InterfaceError, PoolTimeoutError, OSError, MemoryError)
_PASSING_STATES: Final = frozenset({"0A", "25", "26", "42", "XX"})
"""Classes of PostgreSQL's errors (its appendix A) by which a statement cannot be run at all: the schema is of another
version or rights lack, as amid an upgrade, a pooler has lost what was prepared, or it is the server's own failure."""
_MEANT: Final = (HubError, ContractError)
"""What a handler raises to refuse a message; anything else is an error in the hub, or what it did not expect."""
_MAX_CHARS: Final = 1000


class RaceError(HubError):
    """Another process has committed messages of the same device; the batch is tried again."""

    code = "race"


def may_pass(error: BaseException) -> bool:
    """Whether the same batch may be committed later: the cause lies in the database or the machine, in no message.

    What was raised on the way counts as well: an error of a lost connection is followed by others.
    """
    return any(
        isinstance(one, (*_PASSING, RaceError)) or (isinstance(one, DBAPIError) and _is_of_the_database(one))
        for one in _with_causes(error)
    )


def _is_of_the_database(error: DBAPIError) -> bool:
    """Whether it lacks a table, a column, a right or a prepared statement for now, whatever the message says."""
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state[:2] in _PASSING_STATES


def tell_refused(session: Session, device_id: str, message: UpMessage, error: Exception, now: datetime) -> None:
    """Tell in the log and by an event what message is passed over, and why.

    Args:
        session: An open transaction: if it cannot be committed, nothing is passed over.
        device_id: Who has sent it.
        message: What is passed over.
        error: What it came to; one that no handler means to raise is logged with its trace.
        now: The clock.
    """
    kind, size_bytes = kind_of(message), size_of(message)
    what = kind if size_bytes is None else f"{kind}, {size_bytes} bytes"
    text = f"a message of device {device_id} was refused ({what}): {explain(error)}"
    log.warning("%s", text, exc_info=None if isinstance(error, _MEANT) else error)
    once_committed(session, INGEST_REFUSED.labels(kind).inc)
    body = {"kind": kind, "size_bytes": size_bytes, "error": type(error).__name__}
    record_event(
        session, "message_refused", text[:_MAX_CHARS], device_id=device_id, severity="warning", body=body, at=now
    )


def explain(error: Exception) -> str:
    """Return an error as one line, without the statement that failed."""
    text = " ".join(f"{error.orig if isinstance(error, DBAPIError) else error}".split())
    return text if isinstance(error, _MEANT) else f"{type(error).__name__}: {text}"


def kind_of(message: UpMessage) -> str:
    """Return what sort of message it is, like `deployment`, `heartbeat` or `presence`."""
    match message:
        case Event() | TelemetryMessage():
            return message.body.kind
        case Unreadable():
            return message.kind
        case Presence():
            return "presence"
        case ReportedState():
            return "reported"


def size_of(message: UpMessage) -> int | None:
    """Return the bytes that the message takes as JSON; None where nothing is left of it."""
    return message.size_bytes if isinstance(message, Unreadable) else len(message.to_bytes())


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # nothing keeps causes from going round
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
