"""A device's connection as thin as it can be, MQTT 5 over mutual TLS: devices share two cores with what is measured.

What it sends was made and signed before. It keeps to what a real device keeps to: it sends more once the broker has
confirmed and the hub has said that it has committed what came before.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shoal_contract.ack import Ack

KEEPALIVE_S = 600
CONNACK, PUBLISH, PUBACK, SUBACK, DISCONNECT = 0x20, 0x30, 0x40, 0x90, 0xE0
_LONGEST_LENGTH = 5


@dataclass(frozen=True)
class Turn:
    """What a device sends at once: packets with their bytes, and what its outbox has come to with them."""

    packets: bytes
    count: int
    sequence: int
    windows: int
    beats: int


class DeviceLink(asyncio.Protocol):
    """One device. `turns` are sent one after the other, each once the one before is confirmed and committed."""

    def __init__(self, topic: str) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.idle: asyncio.Future[None] = loop.create_future()
        self.sent: list[Turn] = []
        self._topic = topic
        self._ahead = bytearray()
        self._turns: Sequence[Turn] = ()
        self._until_s = 0.0
        self._unconfirmed = 0
        self._committed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_packet(0x10, _text("MQTT") + bytes([5, 2]) + KEEPALIVE_S.to_bytes(2, "big") + b"\0\0\0"))

    def connection_lost(self, error: Exception | None) -> None:
        """Have whoever waits see that the connection is gone."""
        for future in (self.ready, self.idle):
            if not future.done():
                future.set_exception(error or ConnectionError("the broker has closed a device's connection"))

    def data_received(self, data: bytes) -> None:
        """Take the packets that have come as a whole."""
        self._ahead += data
        while (found := _next_packet(self._ahead)) is not None:
            command, body, end = found
            del self._ahead[:end]
            self._take(command, body)

    def run(self, turns: Sequence[Turn], until_s: float) -> None:
        """Send turns until a time of the loop's clock; `idle` is done once the last of them is committed."""
        self.idle = asyncio.get_running_loop().create_future()
        self.sent, self._turns, self._until_s, self._committed = [], turns, until_s, 0
        self._go_on()

    def close(self) -> None:
        """Disconnect."""
        self._transport.write(_packet(DISCONNECT, b"\0\0"))
        self._transport.close()

    def _take(self, command: int, body: bytes) -> None:
        kind = command & 0xF0
        if kind == CONNACK:
            assert body[1] == 0, f"the broker refused a device: {body[1]}"
            self._transport.write(_packet(0x82, b"\0\1\0" + _text(self._topic) + b"\0"))
        elif kind == SUBACK:
            self.ready.set_result(None)
        elif kind == PUBACK:
            self._unconfirmed -= 1
            self._go_on()
        elif kind == PUBLISH:
            start = 2 + int.from_bytes(body[:2], "big") + 1  # no properties
            self._committed = max(self._committed, Ack.model_validate_json(body[start:]).sequence)
            self._go_on()
        elif kind == DISCONNECT:
            self._transport.abort()

    def _go_on(self) -> None:
        if self.idle.done() or self._unconfirmed or (self.sent and self._committed < self.sent[-1].sequence):
            return
        if len(self.sent) == len(self._turns) or asyncio.get_running_loop().time() >= self._until_s:
            self.idle.set_result(None)
            return
        turn = self._turns[len(self.sent)]
        self.sent.append(turn)
        self._unconfirmed = turn.count
        self._transport.write(turn.packets)


def tls_context(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return mutual TLS as a device has it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    context.load_cert_chain(certificate, key)
    return context


def publish_packet(topic: str, packet_id: int, payload: bytes) -> bytes:
    """Return a PUBLISH of QoS 1 (MQTT 5, section 3.3)."""
    return _packet(0x32, _text(topic) + packet_id.to_bytes(2, "big") + b"\0" + payload)


def _packet(command: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        rest, byte = divmod(rest, 128)
        length.append(byte | (0x80 if rest else 0))
        if not rest:
            return bytes([command]) + bytes(length) + body


def _next_packet(data: bytearray) -> tuple[int, bytes, int] | None:
    """Return a packet's first byte, what follows its length, and where it ends; None while it is not whole."""
    length = shift = 0
    for place in range(1, min(len(data), _LONGEST_LENGTH)):
        length |= (data[place] & 0x7F) << shift
        shift += 7
        if not data[place] & 0x80:
            end = place + 1 + length
            return (data[0], bytes(data[place + 1 : end]), end) if len(data) >= end else None
    return None


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded
