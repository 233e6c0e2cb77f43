"""Reads what a device sent: topic and envelope to a typed message, or a reason to drop it. Pure.

What the device's own key has not signed is dropped, whatever the broker says of its source. A signed message
of the outbox whose content cannot be read keeps its place: were it dropped, the device would send it for ever, and
nothing after it would ever be committed. That holds for each message of several that came in one, in a batch or in a
reported state.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from shoal_contract import topics
from shoal_contract.batch import BatchChannel, unpack
from shoal_contract.carrying import read_report
from shoal_contract.compact_envelope import is_compact, verify_compact
from shoal_contract.device_signature import SignedChannel, verify_up
from shoal_contract.envelope import Verified
from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_PACKET_BYTES, MAX_REPORT_BYTES
from shoal_contract.reported import Presence, ReportedState
from shoal_contract.telemetry import Event, OutboxPosition, ShadowWindow, TelemetryMessage, Window
from shoal_contract.wire import WireMessage, WireValue, parse_message
from shoal_numerics import CompressedDataError
from shoal_numerics.compressed import decompress_exactly, named_size_bytes

log = logging.getLogger(__name__)


class _PlaceOfEvent(WireMessage):
    outbox: OutboxPosition


class _Body(WireValue):
    outbox: OutboxPosition


class _PlaceOfTelemetry(WireMessage):
    body: _Body


@dataclass(frozen=True)
class Unreadable:
    """A message of the outbox that this hub cannot read or commit, why, and what is known of it."""

    outbox: OutboxPosition
    reason: str
    kind: str = "unreadable"
    size_bytes: int | None = None


UpMessage = Presence | ReportedState | Event | TelemetryMessage | Unreadable


@dataclass(frozen=True)
class Received:
    """One message, and the device whose key has signed it."""

    device_id: str
    message: UpMessage
    key_id: str = ""

    @property
    def outbox(self) -> OutboxPosition | None:
        """The message's place in the device's outbox; None for what may be lost."""
        if isinstance(self.message, Event | Unreadable):
            return self.message.outbox
        if isinstance(self.message, TelemetryMessage) and isinstance(self.message.body, Window | ShadowWindow):
            return self.message.body.outbox
        return None


def read(
    source: topics.UpTopic, envelope: bytes, keys: Mapping[str, ec.EllipticCurvePublicKey]
) -> tuple[Received, ...]:
    """Read what came in one envelope: one message, several of the outbox, or a reported state and some of the outbox.

    Args:
        source: What its topic says.
        envelope: What came.
        keys: Those of the device that the topic names, by id.

    Raises:
        EnvelopeError: It is signed by none of the device's keys, or for another channel.
        MessageError: What was signed does not have the form that the topic asks for.
    """
    if source.channel == "blob":
        raise MessageError("reading a message: a blob's chunk came over a connection that is not for blobs")
    verified = _verified(source.channel, envelope, keys)
    messages = _parse(source.channel, verified.payload)
    return tuple(Received(source.device_id, message, verified.key_id) for message in messages)


def _verified(channel: SignedChannel, envelope: bytes, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> Verified:
    if not is_compact(envelope):
        return verify_up(envelope, channel, keys)
    packed, key_id = verify_compact(envelope, channel, keys)
    try:
        size_bytes = named_size_bytes(packed)
        if size_bytes > MAX_REPORT_BYTES:
            raise MessageError(f"reading a message: it names {size_bytes} bytes, at most {MAX_REPORT_BYTES} allowed")
        return Verified(decompress_exactly(packed, size_bytes), key_id)
    except CompressedDataError as error:
        raise MessageError(f"reading a message: {error}") from error


def _parse(channel: SignedChannel, payload: bytes) -> Iterable[UpMessage]:
    match channel:
        case "presence":
            return (parse_message(Presence, payload, MAX_REPORT_BYTES),)
        case "reported":
            return _read_reported(payload)
        case "event":
            return (_read_event(payload),)
        case "telemetry":
            return (_read_telemetry(payload),)
        case "events" | "windows":
            return _read_batch(payload, channel)


def _read_reported(payload: bytes) -> Iterable[UpMessage]:
    report = read_report(payload)
    if report.refused is not None:
        log.info("what a reported state carries is left aside: %s", report.refused)
    yield report.state
    yield from _placed(report.carried)


def _read_batch(payload: bytes, channel: BatchChannel) -> Iterable[UpMessage]:
    return _placed(unpack(payload, channel))


def _placed(parts: Iterable[tuple[OutboxPosition, Event | TelemetryMessage | MessageError]]) -> Iterable[UpMessage]:
    for place, message in parts:
        yield Unreadable(place, str(message)) if isinstance(message, MessageError) else message


def _read_event(payload: bytes) -> Event | Unreadable:
    try:
        return parse_message(Event, payload, MAX_REPORT_BYTES)
    except MessageError as error:
        return Unreadable(parse_message(_PlaceOfEvent, payload, MAX_PACKET_BYTES).outbox, str(error))


def _read_telemetry(payload: bytes) -> TelemetryMessage | Unreadable:
    try:
        return parse_message(TelemetryMessage, payload, MAX_REPORT_BYTES)
    except MessageError as error:
        return Unreadable(parse_message(_PlaceOfTelemetry, payload, MAX_PACKET_BYTES).body.outbox, str(error))
