"""How many bytes a message takes on the wire: exact for MQTT 5 without properties, an estimate for what lies below it.

TLS 1.3 adds 22 bytes to each record (RFC 8446, section 5.2: header, content type, tag); a record carries 16 KiB at
most. TCP over IPv4 with timestamps takes 52 bytes a segment of 1,448, and as many for an acknowledgement of each two.
Not in it: what is sent again on a bad link, keepalives, and IPv6's longer headers.
"""

from typing import Final, NamedTuple

from shoal_contract import topics
from shoal_contract.ledger import Traffic

PACKET_ID_BYTES: Final = 2
_LENGTH_BYTES: Final = 2  # before a topic, and before nothing else that we send
_NO_PROPERTIES: Final = 1
_RECORD_BYTES: Final = 16 * 1024
_RECORD_EXTRA: Final = 22
_SEGMENT_BYTES: Final = 1448
_SEGMENT_EXTRA: Final = 52
_SEGMENTS_PER_ACK: Final = 2
_LIST_BYTES: Final = 160
"""A transfer manifest without its chunks' hashes, and without deltas."""
_LISTED_BYTES: Final = 67
RANGE_CONNECTING: Final = Traffic(received_bytes=3_000, sent_bytes=1_500)
"""A TLS handshake in which the hub alone shows a certificate, about."""
RANGE_REQUEST_BYTES: Final = 150
"""Of a request over HTTPS, without its authorization, about."""
RANGE_ANSWER_BYTES: Final = 350
"""Status line and headers of its answer, about."""
_PROOF_BYTES: Final = 750
_ANSWER_BYTES: Final = 4
"""PUBACK; SUBACK and UNSUBACK have two more."""


class OnWire(NamedTuple):
    """What one message takes in its direction, and what acknowledgements of TCP take in the other."""

    forward_bytes: int
    backward_bytes: int

    def received(self) -> Traffic:
        """Return it as seen by the receiver."""
        return Traffic(received_bytes=self.forward_bytes, sent_bytes=self.backward_bytes)

    def sent(self) -> Traffic:
        """Return it as seen by the sender."""
        return Traffic(received_bytes=self.backward_bytes, sent_bytes=self.forward_bytes)


def tls_bytes(plain_bytes: int) -> int:
    """Return the bytes that one write takes inside TLS 1.3."""
    return plain_bytes + _RECORD_EXTRA * -(-plain_bytes // _RECORD_BYTES)


def on_wire(plain_bytes: int) -> OnWire:
    """Return what one write over TLS, TCP and IP takes."""
    stream_bytes = tls_bytes(plain_bytes)
    segments = -(-stream_bytes // _SEGMENT_BYTES)
    return OnWire(stream_bytes + _SEGMENT_EXTRA * segments, _SEGMENT_EXTRA * -(-segments // _SEGMENTS_PER_ACK))


def publish_bytes(topic: str, payload_bytes: int, qos: int) -> int:
    """Return the size of a PUBLISH packet (MQTT 5, section 3.3)."""
    rest = _LENGTH_BYTES + len(topic.encode()) + (PACKET_ID_BYTES if qos else 0) + _NO_PROPERTIES + payload_bytes
    return 1 + _varint_bytes(rest) + rest


def subscribe_bytes(topic: str, *, is_ending: bool = False) -> int:
    """Return the size of a SUBSCRIBE packet to one topic, or of its UNSUBSCRIBE (sections 3.8 and 3.10)."""
    rest = PACKET_ID_BYTES + _NO_PROPERTIES + _LENGTH_BYTES + len(topic.encode()) + (0 if is_ending else 1)
    return 1 + _varint_bytes(rest) + rest


def puback_bytes() -> int:
    """Return the size of a PUBACK (section 3.4)."""
    return _ANSWER_BYTES


def suback_bytes() -> int:
    """Return the size of a SUBACK or UNSUBACK of one topic (sections 3.9 and 3.11)."""
    return _ANSWER_BYTES + _NO_PROPERTIES + 1


def subscription_cost(topic: str) -> Traffic:
    """Return what it takes a device to subscribe to a topic and to end that again, answers included."""
    asked = on_wire(subscribe_bytes(topic)).sent().plus(on_wire(subscribe_bytes(topic, is_ending=True)).sent())
    answer = on_wire(suback_bytes()).received()
    return asked.plus(answer).plus(answer)


def artifact_cost(sha256: str, size_bytes: int, chunk_bytes: int) -> Traffic:
    """Return what it takes a device to fetch an artifact as retained chunks, its transfer manifest included.

    Args:
        sha256: The artifact.
        size_bytes: Its size.
        chunk_bytes: The size of its chunks, but for the last.
    """
    chunks = -(-size_bytes // chunk_bytes)
    listed_bytes = _LIST_BYTES + _LISTED_BYTES * chunks
    sizes = [*[chunk_bytes] * (chunks - 1), size_bytes - chunk_bytes * (chunks - 1)]
    passing = [(topics.artifact_manifest(sha256), listed_bytes)]
    passing += [(topics.artifact_chunk(sha256, index), size) for index, size in enumerate(sizes)]
    total = Traffic()
    for topic, payload_bytes in passing:
        message = on_wire(publish_bytes(topic, payload_bytes, 0)).received()
        total = total.plus(subscription_cost(topic)).plus(message)
    return total


def range_cost(asked_bytes: int, answered_bytes: int) -> Traffic:
    """Return what one request over HTTPS and its answer take, beside their heads."""
    answered = on_wire(RANGE_ANSWER_BYTES + answered_bytes).received()
    return on_wire(RANGE_REQUEST_BYTES + asked_bytes).sent().plus(answered)


def ranges_cost(size_bytes: int, chunk_bytes: int) -> Traffic:
    """Return what it takes a device to fetch an artifact over HTTPS in ranges of a chunk each, its list included."""
    chunks = -(-size_bytes // chunk_bytes)
    total = RANGE_CONNECTING.plus(range_cost(_PROOF_BYTES, _LIST_BYTES + _LISTED_BYTES * chunks))
    for index in range(chunks):
        total = total.plus(range_cost(_PROOF_BYTES, min(chunk_bytes, size_bytes - index * chunk_bytes)))
    return total


def _varint_bytes(number: int) -> int:
    size = 1
    while number := number >> 7:
        size += 1
    return size
