"""From what the broker delivers to what can be believed: the devices' keys, then their rates, then the signatures."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from shoal_contract import topics
from shoal_contract.errors import ContractError
from shoal_hub.database import Database
from shoal_hub.devices.certificates import DeviceKeys, device_keys
from shoal_hub.ingest.rate import DeviceRates
from shoal_hub.ingest.receive import Received, read
from shoal_hub.meters import INGEST_BYTES, INGEST_DROPPED, INGEST_MESSAGES
from shoal_hub.mqtt import Message

log = logging.getLogger(__name__)

_RETRY_S: Final = 0.5
Warn = Callable[[str, str], None]
"""Tells of messages that are dropped: (source, reason)."""


class Read(NamedTuple):
    """What a batch holds: what can be believed, the messages that it came in, and devices that have no key here.

    Those are unknown or revoked ones.
    """

    received: list[Received]
    strangers: frozenset[str]
    believed: Sequence[Message] = ()


class Reader:
    """Reads batches.

    Args:
        database: Where the devices' keys are.
        messages_per_s: What one device may send on average.
        warn: Told of what is dropped.
        stopping: Ends the wait for a database that is away.
    """

    def __init__(self, database: Database, messages_per_s: float, warn: Warn, stopping: threading.Event) -> None:
        self._database = database
        self._rates = DeviceRates(messages_per_s)
        self._warn = warn
        self._stopping = stopping

    def read(self, messages: Sequence[Message]) -> Read:
        """Return what of the messages can be believed."""
        sources = [found for message in messages if (found := self._source_of(message)) is not None]
        _count(sources)
        keys = self._keys_of({source.device_id for _, source in sources})
        received: list[Received] = []
        strangers: set[str] = set()
        believed: list[Message] = []
        for message, source in sources:
            if not self._allows(source.device_id, len(message.payload)):
                continue
            if source.device_id in keys:
                opened = self._open(message, source, keys[source.device_id])
                received += opened
                believed += [message] if opened else []
            else:
                INGEST_DROPPED.labels("unknown_device").inc()
                strangers.add(source.device_id)
        return Read(received, frozenset(strangers), believed)

    def _open(self, message: Message, source: topics.UpTopic, keys: DeviceKeys) -> Sequence[Received]:
        try:
            found = read(source, message.payload, keys)
        except ContractError as error:
            INGEST_DROPPED.labels("invalid").inc()
            self._warn(sender(message.topic), str(error))
            return ()
        self._rates.count_more(source.device_id, len(found) - 1)
        return found

    def _allows(self, device_id: str, size_bytes: int) -> bool:
        """Whether a message may be opened, asked just before: those in front of it in the same drain are paid for."""
        if self._rates.allows(device_id, size_bytes, time.monotonic()):
            return True
        INGEST_DROPPED.labels("rate").inc()
        self._warn(f"device {device_id}", "it sends more than SHOAL_DEVICE_MESSAGES_PER_S")
        return False

    def _source_of(self, message: Message) -> tuple[Message, topics.UpTopic] | None:
        if not message.payload:
            return None  # a retained message that was cleared
        try:
            source = topics.parse_up(message.topic)
        except ContractError as error:
            INGEST_DROPPED.labels("topic").inc()
            self._warn(sender(message.topic), str(error))
            return None
        return message, source

    def _keys_of(self, device_ids: set[str]) -> dict[str, DeviceKeys]:
        """Return the devices' keys; a database that is away is waited for, as nothing can be believed without it."""
        while device_ids and not self._stopping.is_set():
            try:
                with self._database.session() as session:
                    return device_keys(session, device_ids)
            except SQLAlchemyError:
                log.exception("reading the keys of %d devices failed; trying again", len(device_ids))
                self._stopping.wait(_RETRY_S)
        return {}


def _count(sources: Sequence[tuple[Message, topics.UpTopic]]) -> None:
    """Count what was read, channel by channel: once a batch costs nothing, once a message does."""
    messages: Counter[str] = Counter()
    size_bytes: Counter[str] = Counter()
    for message, source in sources:
        messages[source.channel] += 1
        size_bytes[source.channel] += len(message.payload)
    for channel, count in messages.items():
        INGEST_MESSAGES.labels(channel).inc(count)
        INGEST_BYTES.labels(channel).inc(size_bytes[channel])


def sender(topic: str) -> str:
    """Return the part of a topic that the broker vouches for: a device can make up any number of names after it."""
    return "/".join(topic.split("/")[:4])
