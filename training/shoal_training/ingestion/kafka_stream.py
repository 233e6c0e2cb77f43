"""Rows from topics of Kafka, by Confluent's client; nothing is committed, so that no other reader misses anything."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from uuid import uuid4

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_training.errors import DataError
from shoal_training.ingestion.source import Reading
from shoal_training.ingestion.windows import Message, Receive, StreamSource
from shoal_training.kafka import ClientSettings, KafkaCluster, Servers, told

if TYPE_CHECKING:
    from confluent_kafka import Consumer
    from confluent_kafka import Message as KafkaMessage

_FACTS: Final = ("topic", "partition", "offset", "sent_at", "key")


class KafkaSource(StreamSource):
    """Messages of a topic, from its start to where it ends when reading begins, or a number of windows from then on."""

    kind: ClassVar[str] = "kafka"

    servers: Servers
    """`host:port`, with commas between."""
    topic: str = Field(min_length=1, max_length=249)
    start: Literal["earliest", "latest"] = "earliest"
    until: Literal["end", "idle"] | None = None
    """`end`: what there is when reading begins. `idle`: until windows are full or none comes for `idle_s`. By `start`
    without: `end` from the earliest, `idle` from the latest."""
    username: str | None = Field(default=None, max_length=256)
    password_env: str | None = Field(default=None, min_length=1, max_length=256)
    """The environment variable that holds the password, for SASL."""
    settings: ClientSettings = Field(default={})
    """Of the client (librdkafka), such as `security.protocol: SASL_SSL`; no secrets."""
    connect_s: float = Field(default=15, gt=0, le=3600)

    @model_validator(mode="after")
    def _check_added(self) -> Self:
        unknown = sorted(set(self.add) - set(_FACTS))
        if unknown:
            raise ValueError(f"add: {', '.join(unknown)} is not known of a message, only {', '.join(_FACTS)}")
        return self

    @property
    def label(self) -> str:
        """See `Source`."""
        return self.name or f"kafka://{self.servers}/{self.topic}"

    @contextmanager
    def receiving(self, reading: Reading) -> Iterator[Receive]:  # noqa: ARG002 - see `StreamSource`
        """See `StreamSource`."""
        from confluent_kafka import Consumer, KafkaException

        consumer, settings = None, self._settings()
        try:
            consumer = Consumer(settings)
            ends = self._assign(consumer)
            yield _Receiving(consumer, ends, self.label, self.idle_s).receive
        except KafkaException as error:
            reason = told(error, settings)
            raise DataError(f"reading {self.label}: {reason}; see that it runs and may be read") from error
        finally:
            if consumer is not None:
                consumer.close()

    def _settings(self) -> dict[str, Any]:
        cluster = KafkaCluster(
            servers=self.servers, username=self.username, password_env=self.password_env, settings=self.settings
        )
        return {
            **cluster.client_settings(f"reading {self.label}"),
            "group.id": f"shoal-{uuid4().hex}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }

    def _assign(self, consumer: "Consumer") -> dict[int, int] | None:
        """Take all partitions, and return where they end by their numbers; None: reading goes on beyond."""
        from confluent_kafka import TopicPartition

        about = consumer.list_topics(self.topic, timeout=self.connect_s).topics[self.topic]
        if about.error is not None:
            raise DataError(f"reading {self.label}: {about.error.str()}; mend the topic's name")
        marks: dict[int, tuple[int, int]] = {}
        for number in about.partitions:
            marks[number] = consumer.get_watermark_offsets(TopicPartition(self.topic, number), timeout=self.connect_s)
        at = 0 if self.start == "earliest" else 1
        assigned = [TopicPartition(self.topic, number, mark[at]) for number, mark in sorted(marks.items())]
        consumer.assign(assigned)
        is_bounded = (self.until or ("end" if self.start == "earliest" else "idle")) == "end"
        return (
            {one.partition: marks[one.partition][1] for one in assigned if one.offset < marks[one.partition][1]}
            if (is_bounded)
            else None
        )


class _Receiving:
    """Gives messages up to where partitions end."""

    def __init__(self, consumer: "Consumer", ends: Mapping[int, int] | None, label: str, idle_s: float) -> None:
        self._consumer, self._label, self._idle_s = consumer, label, idle_s
        self._heard_at = time.monotonic()
        self._ends = None if ends is None else dict(ends)

    def receive(self, seconds: float) -> Message | Literal["end"] | None:
        """See `Receive`."""
        while self._ends is None or self._ends:
            found = self._consumer.poll(seconds)
            if found is None:
                self._check_heard()
                return None
            self._heard_at = time.monotonic()
            error = found.error()
            if error is None:
                if self._is_wanted(found):
                    return _message(found)
            elif not self._is_end(found, error):
                raise DataError(f"reading {self._label}: {error.str()}")
            elif self._ends is None:
                return None
        return "end"

    def _check_heard(self) -> None:
        """See that silence is not taken for the end of a topic that goes on: the client tries for ever to reach it."""
        if self._ends and time.monotonic() - self._heard_at >= self._idle_s:
            missing = ", ".join(f"{number} to {end}" for number, end in sorted(self._ends.items()))
            raise DataError(
                f"reading {self._label}: nothing came for {self._idle_s:g} s, though partitions go on ({missing}); see "
                "that its brokers run, or raise `idle_s`"
            )

    def _is_wanted(self, found: "KafkaMessage") -> bool:
        """Whether a message stands before its partition's end; what comes later is for the next reading."""
        if self._ends is None:
            return True
        number, offset = found.partition() or 0, found.offset() or 0
        end = self._ends.get(number)
        if end is not None and offset + 1 >= end:
            del self._ends[number]
        return end is not None and offset < end

    def _is_end(self, found: "KafkaMessage", error: Any) -> bool:  # noqa: ANN401 - Confluent's, without types
        """Note that a partition has no more: its last offset may be of a transaction, which is no message."""
        from confluent_kafka import KafkaError

        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            return bool(error.retriable())
        if self._ends is not None:
            self._ends.pop(found.partition() or 0, None)
        return True


def _message(found: "KafkaMessage") -> Message:
    kind, milliseconds = found.timestamp()
    key: Any = found.key()
    facts = {
        "topic": found.topic(),
        "partition": found.partition(),
        "offset": found.offset(),
        "sent_at": datetime.fromtimestamp(milliseconds / 1000, timezone.utc) if kind else None,
        "key": key.decode(errors="replace") if isinstance(key, bytes) else key,
    }
    return Message(bytes(found.value() or b""), facts)
