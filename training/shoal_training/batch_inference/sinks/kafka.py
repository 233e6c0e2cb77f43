"""Answers as messages of a topic of Kafka, by Confluent's client: a row each, as JSON, with its key as a header."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field, field_validator

from shoal_training.batch_inference.sinks.noted import NotedWriter
from shoal_training.batch_inference.sinks.sink import Sink, SinkContext, Writer
from shoal_training.errors import SinkError
from shoal_training.ingestion.kafka_stream import check_settings
from shoal_training.ingestion.secret import secret, without

if TYPE_CHECKING:
    from confluent_kafka import Producer

KEY_HEADER: Final = "shoal-key"
_SERVE_EVERY: Final = 1_000
"""Messages between two looks at what brokers have confirmed."""


class KafkaSink(Sink):
    """A topic. A part that was being sent when the process was killed comes again, under the same keys."""

    kind: ClassVar[str] = "kafka"
    is_exactly_once: ClassVar[bool] = False

    servers: str = Field(min_length=1, max_length=4096)
    """`host:port`, with commas between."""
    topic: str = Field(min_length=1, max_length=249)
    manifest_topic: str | None = Field(default=None, min_length=1, max_length=249)
    """Gets the manifest, under the name of the batch inference's run as its key, once all parts are there."""
    username: str | None = Field(default=None, max_length=256)
    password_env: str | None = Field(default=None, min_length=1, max_length=256)
    """The environment variable that holds the password, for SASL."""
    settings: dict[str, str] = Field(default={}, max_length=100)
    """Of the client (librdkafka), such as `security.protocol: SASL_SSL`; no secrets."""
    timeout_s: float = Field(default=60, gt=0, le=3600)
    """For brokers to confirm a message."""

    @field_validator("settings")
    @classmethod
    def _check_settings(cls, settings: dict[str, str]) -> dict[str, str]:
        return check_settings(settings)

    @property
    def label(self) -> str:
        """See `Sink`."""
        return f"kafka://{self.servers}/{self.topic}"

    @contextmanager
    def opened(self, context: SinkContext) -> Iterator[Writer]:
        """See `Sink`."""
        from confluent_kafka import KafkaException, Producer

        password = secret(self.password_env, f"writing to {self.label}") if self.password_env else ""
        sasl = {"sasl.username": self.username, "sasl.password": password} if self.username else {}
        try:
            producer = Producer(
                {
                    "log_level": 0,  # what is wrong is raised
                    **self.settings,
                    **sasl,
                    "bootstrap.servers": self.servers,
                    "enable.idempotence": True,  # what the client itself sends again counts once, and stays in order
                    "message.timeout.ms": round(self.timeout_s * 1000),
                }
            )
        except KafkaException as error:
            told = without(str(error.args[0].str()), password)
            raise SinkError(f"writing to {self.label}: {told}; mend the settings") from error
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
