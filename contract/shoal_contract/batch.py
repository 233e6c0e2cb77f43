"""Several messages of a device's outbox in one: how they are put together, and how each is read by itself.

A message inside is what would travel alone, but for its place in the outbox, which follows from the first one's. What
cannot be read keeps its place, so a message that the reader does not understand never holds up the others.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_BATCH_MESSAGES, MAX_INTEGER, MAX_REPORT_BYTES
from shoal_contract.telemetry import Event, Heartbeat, OutboxPosition, TelemetryMessage
from shoal_contract.wire import WireMessage, may_hold_nul, parse_outer, read_part

BatchChannel = Literal["events", "windows"]
BATCH_OF: Final[dict[Literal["event", "telemetry"], BatchChannel]] = {"event": "events", "telemetry": "windows"}
"""Where several messages of a channel of the outbox travel together."""


class OutboxBatch(WireMessage):
    """The payload of `up/events` and `up/windows`: messages that follow each other in the outbox.

    `outbox` is the place of the first; each that follows has the next sequence and the same stream and oldest. A
    message is an Event or a TelemetryMessage without its place.
    """

    outbox: OutboxPosition
    messages: tuple[Any, ...] = Field(min_length=1, max_length=MAX_BATCH_MESSAGES)

    @model_validator(mode="after")
    def _check_end(self) -> Self:
        if self.outbox.sequence > MAX_INTEGER - MAX_BATCH_MESSAGES:
            msg = f"sequence {self.outbox.sequence} found, at most {MAX_INTEGER - MAX_BATCH_MESSAGES} expected"
            raise ValueError(msg)
        return self

    def place(self, index: int) -> OutboxPosition:
        """Return the place in the outbox of the message at `index`."""
        first = self.outbox
        return OutboxPosition(stream=first.stream, sequence=first.sequence + index, oldest=first.oldest)


def pack(first: OutboxPosition, channel: BatchChannel, messages: Sequence[bytes]) -> bytes:
    """Put messages together that follow each other in the outbox.

    Args:
        first: The place of the first.
        channel: Where they go.
        messages: Each as JSON, with any place or none.

    Returns:
        The payload of `up/<channel>`.
    """
    parts = [json.loads(message) for message in messages]
    for part in parts:
        _holder_of_place(part, channel).pop("outbox", None)
    batch = {"schema_version": 1, "outbox": first.model_dump(), "messages": parts}
    return json.dumps(batch, separators=(",", ":"), ensure_ascii=False).encode()


def unpack(
    payload: bytes, channel: BatchChannel
) -> Iterator[tuple[OutboxPosition, Event | TelemetryMessage | MessageError]]:
    """Read a batch from untrusted bytes.

    Yields:
        Each message's place, and the message, or why it cannot be read.

    Raises:
        MessageError: The payload is too large, holds too many messages, or is no batch.
    """
    batch = parse_outer(OutboxBatch, payload, MAX_REPORT_BYTES)
    yield from open_batch(batch, channel, has_nul=may_hold_nul(payload))


def open_batch(
    batch: OutboxBatch, channel: BatchChannel, *, has_nul: bool
) -> Iterator[tuple[OutboxPosition, Event | TelemetryMessage | MessageError]]:
    """Read what a batch holds.

    Args:
        batch: A batch whose payload was within its bound.
        channel: What its messages are.
        has_nul: What `may_hold_nul` says of the payload.

    Yields:
        Each message's place, and the message, or why it cannot be read.
    """
    for index, part in enumerate(batch.messages):
        try:
            message = _read(part, channel, batch, index, has_nul=has_nul)
        except MessageError as error:
            yield batch.place(index), error
        else:
            yield message


def _read(
    part: object, channel: BatchChannel, batch: OutboxBatch, index: int, *, has_nul: bool
) -> tuple[OutboxPosition, Event | TelemetryMessage]:
    first = batch.outbox
    sequence = first.sequence + index
    kind: type[Event | TelemetryMessage] = Event if channel == "events" else TelemetryMessage
    holder = _holder_of_place(part, channel)
    if not isinstance(part, dict) or not isinstance(holder, dict):
        msg = f"reading {kind.__name__} {sequence} in a batch: a JSON object expected"
        raise MessageError(msg)
    holder["outbox"] = {"stream": first.stream, "sequence": sequence, "oldest": first.oldest}
    message = read_part(kind, part, has_nul=has_nul)
    if isinstance(message, Event):
        return message.outbox, message
    if isinstance(message.body, Heartbeat):
        msg = f"reading TelemetryMessage {sequence} in a batch: a heartbeat, which has no place in the outbox"
        raise MessageError(msg)
    return message.body.outbox, message


def _holder_of_place(part: Any, channel: BatchChannel) -> Any:  # noqa: ANN401 - JSON of any form
    """Return what of a message holds its place: telemetry keeps it inside the body, an event beside it."""
    return part.get("body") if channel == "windows" and isinstance(part, dict) else part
