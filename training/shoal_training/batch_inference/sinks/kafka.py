"""Answers as messages of a topic of Kafka, by Confluent's client: a row each, as JSON, with its key as a header."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

from pydantic import Field

from shoal_training.batch_inference.sinks.noted import NotedWriter
from shoal_training.batch_inference.sinks.sink import Sink, SinkContext, Writer
from shoal_training.errors import SinkError
from shoal_training.kafka import KafkaCluster, KafkaPublisher, KafkaTopic, NotSentError

KEY_HEADER: Final = "shoal-key"


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
        doing = f"writing to {self.label}"
        try:
            publisher = KafkaPublisher(self, doing, self.timeout_s)
        except NotSentError as error:
            raise SinkError(f"{doing}: {error}; mend the settings") from error
        yield _KafkaWriter(self, publisher, context)


class _KafkaWriter(NotedWriter):
    def __init__(self, sink: KafkaSink, publisher: KafkaPublisher, context: SinkContext) -> None:
        super().__init__(context.run, context.notes)
        self._sink, self._publisher = sink, publisher

    def send(self, part: int, rows: Iterator[bytes]) -> None:
        """See `NotedWriter`."""
        self._send_all(self._sink.topic, ((self.key(part, at), row) for at, row in enumerate(rows, 1)))

    def send_manifest(self, content: bytes) -> None:
        """See `NotedWriter`."""
        if self._sink.manifest_topic is not None:
            self._send_all(self._sink.manifest_topic, [(self.run, content)])

    def _send_all(self, topic: str, messages: Iterable[tuple[str, bytes]]) -> None:
        try:
            for key, value in messages:
                self._publisher.send(topic, value, key, {KEY_HEADER: key.encode()})
            self._publisher.confirm()
        except NotSentError as error:
            raise SinkError(f"writing to {self._sink.label}: {error}; run again when its brokers are there") from error
