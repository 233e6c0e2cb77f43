"""HTTP/1.1 between two devices: h11 on a byte stream of anyio's, and the one kind of path that there is."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio
import h11
from anyio.abc import ByteStream

from shoal_contract.ledger import Traffic
from shoal_contract.limits import CHUNK_SIZES_BYTES
from shoal_contract.wire_bytes import OnWire, on_wire

Count = Callable[[Traffic], None]
"""Told of what has passed between two devices of a site."""
_HEAD_BYTES: Final = 120
"""Of a request and of an answer, each, about."""
_READ_BYTES: Final = 64 * 1024
_PATH: Final = re.compile(rb"/artifact/([0-9a-f]{64})/([0-9]{1,6})/([0-9]{1,4})")


@dataclass(frozen=True)
class Part:
    """One chunk of an artifact; which sizes a chunk may have is the contract's."""

    sha256: str
    chunk_bytes: int
    index: int

    @property
    def path(self) -> str:
        """Where a cache has it. The size is named, as the cache may have got the artifact in chunks of another."""
        return f"/artifact/{self.sha256}/{self.chunk_bytes}/{self.index}"


def parse_path(target: bytes) -> Part | None:
    """Return which chunk a request names; None where it names anything else."""
    found = _PATH.fullmatch(target)
    if found is None:
        return None
    part = Part(found[1].decode(), int(found[2]), int(found[3]))
    return part if part.chunk_bytes in CHUNK_SIZES_BYTES else None


def passage_of(chunk_bytes: int) -> OnWire:
    """Return what a chunk takes on the LAN with its two heads, in the direction of who asked and in the other."""
    asked, answered = on_wire(_HEAD_BYTES), on_wire(_HEAD_BYTES + chunk_bytes)
    return OnWire(
        answered.forward_bytes + asked.backward_bytes,
        asked.forward_bytes + answered.backward_bytes,
    )


async def receive(talk: h11.Connection, stream: ByteStream, read_bytes: int = _READ_BYTES) -> h11.Event:
    """Return what the other side says next; the end of the connection is a `h11.ConnectionClosed`.

    Args:
        talk: What was said before.
        stream: The connection.
        read_bytes: Read at a time; h11 only looks at its bound on a head between two reads.

    Raises:
        h11.RemoteProtocolError: It speaks no HTTP, or its head is too long.
        anyio.BrokenResourceError: The connection is gone.
    """
    while True:
        event = talk.next_event()
        if event is h11.PAUSED:
            raise h11.RemoteProtocolError("it says more before it has got its answer")
        if isinstance(event, h11.Event):
            return event
        try:
            data = await stream.receive(read_bytes)
        except anyio.EndOfStream:
            data = b""
        talk.receive_data(data)


async def send(talk: h11.Connection, stream: ByteStream, *events: h11.Event) -> None:
    """Say all of this at once.

    Raises:
        anyio.BrokenResourceError: The connection is gone.
    """
    data = b"".join(talk.send(event) or b"" for event in events)
    if data:  # the end of a message whose length was told is nothing
        await stream.send(data)
