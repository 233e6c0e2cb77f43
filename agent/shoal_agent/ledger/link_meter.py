"""Counts what passes over the link to the broker, each message under the category that its topic tells."""

from collections.abc import Callable
from typing import Final, Literal

from shoal_agent.ledger.ledger import Ledger
from shoal_contract import topics
from shoal_contract.ledger import ByteCategory, Traffic
from shoal_contract.wire_bytes import (
    on_wire,
    puback_bytes,
    publish_bytes,
    suback_bytes,
    subscribe_bytes,
)

Passage = Literal["connect", "publish", "receive", "subscribe", "unsubscribe"]
CONNECTING: Final = Traffic(received_bytes=4_000, sent_bytes=4_000)
"""A mutual TLS handshake with P-256 certificates, and CONNECT with its will; rounded up from what a test measures."""
_ARTIFACTS: Final = topics.ARTIFACT_FILTER.removesuffix("#")
_TELEMETRY: Final = ("/up/telemetry", "/up/windows")
_BLOBS: Final = "/up/blob/"


class LinkMeter:
    """Puts each passage into the ledger; any thread may call.

    Args:
        ledger: Where it is kept.
        of_blob: Returns the category of an upload, by its hash.
    """

    def __init__(self, ledger: Ledger, of_blob: Callable[[str], ByteCategory] = lambda _: "federated") -> None:
        self._ledger = ledger
        self._of_blob = of_blob

    def count(self, passage: Passage, topic: str, payload_bytes: int, qos: int) -> None:
        """Count one passage with its answer.

        Args:
            passage: What has happened.
            topic: Of the message or the subscription; empty for a connection.
            payload_bytes: Of the message.
            qos: Its quality of service.
        """
        self._ledger.count(category_of(topic, self._of_blob), cost_of(passage, topic, payload_bytes, qos))


def category_of(topic: str, of_blob: Callable[[str], ByteCategory] = lambda _: "federated") -> ByteCategory:
    """Return under which category a topic's messages are counted; `of_blob` says it of an upload, by its hash."""
    if topic.startswith(_ARTIFACTS):
        return "artifacts_broker"
    if topic.endswith(_TELEMETRY):
        return "telemetry"
    _, is_blob, chunk = topic.partition(_BLOBS)
    return of_blob(chunk.partition("/")[0]) if is_blob else "control"


def cost_of(passage: Passage, topic: str, payload_bytes: int, qos: int) -> Traffic:
    """Return what one passage takes on the wire, its answer included."""
    if passage == "connect":
        return CONNECTING
    if passage in {"publish", "receive"}:
        message, answer = on_wire(publish_bytes(topic, payload_bytes, qos)), on_wire(puback_bytes())
        if passage == "publish":
            return message.sent().plus(answer.received()) if qos else message.sent()
        return message.received().plus(answer.sent()) if qos else message.received()
    asked = on_wire(subscribe_bytes(topic, is_ending=passage == "unsubscribe"))
    return asked.sent().plus(on_wire(suback_bytes()).received())
