"""Answers as messages of a topic of Kafka, by Confluent's client: a row each, as JSON, with its key as a header."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field

from shoal_training.batch_inference.sinks.noted import NotedWriter
from shoal_training.batch_inference.sinks.sink import Sink, SinkContext, Writer
from shoal_training.errors import SinkError
from shoal_training.kafka import KafkaCluster, KafkaTopic, told

if TYPE_CHECKING:
    from confluent_kafka import Producer

KEY_HEADER: Final = "shoal-key"
_SERVE_EVERY: Final = 1_000
"""Messages between two looks at what brokers have confirmed."""


class KafkaSink(Sink, KafkaCluster):
    """A topic. A part that was being sent when the process was killed comes again, under the same keys."""

    kind: ClassVar[str] = "kafka"
    is_exactly_once: ClassVar[bool] = False

    topic: KafkaTopic
    manifest_topic: KafkaTopic | None = None
    """Gets the manifest, with the run's id as its key, once all parts are there."""
    timeout_s: float = Field(default=60, gt=0, le=3600)
    """For brokers to confirm a message."""

    @property
    def label(self) -> str:
        """See `Sink`."""
        return f"kafka://{self.servers}/{self.topic}"

    @contextmanager
    def opened(self, context: SinkContext) -> Iterator[Writer]:
        """See `Sink`."""
        from confluent_kafka import KafkaException, Producer

        settings = {
            **self.client_settings(f"writing to {self.label}"),
            "enable.idempotence": True,  # what the client itself sends again counts once, and stays in order
            "message.timeout.ms": round(self.timeout_s * 1000),
        }
        try:
            producer = Producer(settings)
        except KafkaException as error:
            raise SinkError(f"writing to {self.label}: {told(error, settings)}; mend the settings") from error
        yield _KafkaWriter(self, producer, context)


class _KafkaWriter(NotedWriter):
    def __init__(self, sink: KafkaSink, producer: "Producer", context: SinkContext) -> None:
        super().__init__(context.run, context.notes)
        self._sink, self._producer = sink, producer
        self._failed = ""

    def send(self, part: int, rows: Iterator[bytes]) -> None:
        """See `NotedWriter`."""
        self._failed = ""
        for at, row in enumerate(rows, 1):
            self._produce(self._sink.topic, row, self.key(part, at))
            if at % _SERVE_EVERY == 0:
                self._producer.poll(0)
        self._flush()

    def send_manifest(self, content: bytes) -> None:
        """See `NotedWriter`."""
        if self._sink.manifest_topic is not None:
            self._produce(self._sink.manifest_topic, content, self.run)
            self._flush()

    def _produce(self, topic: str, value: bytes, key: str) -> None:
        from confluent_kafka import KafkaException

        while True:
            try:
                self._producer.produce(
                    topic, value, key=key, headers={KEY_HEADER: key.encode()}, on_delivery=self._delivered
                )
            except BufferError:  # the queue is full: confirmations make room
                self._producer.poll(1.0)
                continue
            except KafkaException as error:
                raise SinkError(f"writing to {self._sink.label}: {error.args[0].str()}; mend the rows") from error
            return

    def _delivered(self, error: Any, _message: Any) -> None:  # noqa: ANN401 - Confluent's, without types
        if error is not None and not self._failed:
            self._failed = str(error.str())

    def _flush(self) -> None:
        left = self._producer.flush(self._sink.timeout_s + 5)
        if left or self._failed:
            told = self._failed or f"{left} messages were not confirmed in time"
            raise SinkError(f"writing to {self._sink.label}: {told}; run again when its brokers are there")
