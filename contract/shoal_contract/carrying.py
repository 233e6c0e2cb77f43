"""A reported state that takes along events of the outbox: how a deployment ended is told once, in one signed message.

The state is the one that would travel alone, and a reader that knows nothing of what it carries reads just that. What
it carries is a batch as in `up/events`: each message has its place, and one that cannot be read holds up no other.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydantic_core import from_json

from shoal_contract.batch import OutboxBatch, open_batch, pack
from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_REPORT_BYTES
from shoal_contract.reported import ReportedState
from shoal_contract.telemetry import Event, OutboxPosition, TelemetryMessage
from shoal_contract.wire import may_hold_nul, parse_message, read_part

_FIELD = b'"carried"'


class CarryingReport(ReportedState):
    """The payload of `up/reported` where events travel in it: `carried` is what `up/events` would have had."""

    carried: Any = None
    """Read apart from the state: one that cannot be read takes nothing of it along."""


class ReadReport(NamedTuple):
    """A reported state, and each event that came in it with its place, or why it cannot be read.

    Attributes:
        state: The state.
        carried: The events.
        refused: Why none of what it carries can be read: it is no batch. The device sends it again by itself.
    """

    state: ReportedState
    carried: Iterable[tuple[OutboxPosition, Event | TelemetryMessage | MessageError]]
    refused: MessageError | None = None


def load(report: bytes, first: OutboxPosition, events: Sequence[bytes]) -> bytes:
    """Put events that follow each other in the outbox into a reported state.

    Args:
        report: The state as it would travel alone, `ReportedState.to_bytes`.
        first: The place of the first event.
        events: Each as JSON, with any place or none.

    Returns:
        The payload of `up/reported`.
    """
    return b"%b,%b:%b}" % (report.removesuffix(b"}"), _FIELD, pack(first, "events", events))


def read_report(payload: bytes) -> ReadReport:
    """Read a reported state from untrusted bytes, and what it carries.

    Raises:
        MessageError: The payload is too large, or the state does not have its form.
    """
    state = parse_message(ReportedState, payload, MAX_REPORT_BYTES)
    if _FIELD not in payload:
        return ReadReport(state, ())
    carried = from_json(payload).get("carried")
    if carried is None:  # something else has that name: a model, say
        return ReadReport(state, ())
    try:
        batch = read_part(OutboxBatch, carried, has_nul=False)  # its messages are looked at one by one
    except MessageError as error:
        return ReadReport(state, (), error)
    return ReadReport(state, open_batch(batch, "events", has_nul=may_hold_nul(payload)))
