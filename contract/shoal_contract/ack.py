"""The hub's acknowledgement to a device: what is committed, and which blobs may come."""

from typing import Literal

from pydantic import Field

from shoal_contract.ids import Sha256
from shoal_contract.limits import MAX_ACK_BLOBS
from shoal_contract.wire import Count, WireMessage, WireValue


class BlobAnswer(WireValue):
    """`credit`: send the chunks in `missing`; `stored`: done, the blob may go; `refused`: never, with the reason."""

    state: Literal["credit", "stored", "refused"]
    missing: tuple[Count, ...] = Field(default=(), max_length=4096)
    reason: str = Field(default="", max_length=256)


class Ack(WireMessage):
    """The payload of `down/ack`. `sequence` is the highest that the hub has committed of `stream`, without gaps."""

    stream: str = Field(pattern=r"^[0-9a-f]{16}$")
    sequence: Count
    reads_compact: bool | None = None
    """Whether the hub reads compact envelopes (`compact_envelope`); None, of an older hub: it does not."""
    blobs: dict[Sha256, BlobAnswer] = Field(default_factory=dict, max_length=MAX_ACK_BLOBS)
