"""Events of a Kafka topic and results to one, by Confluent's client.

A stream's open windows are in one process, so that one process has all partitions: they are assigned, and no consumer
group is joined. Its place in them is committed under the stream's group, where Kafka's tools show how far behind it is.
"""

import time
from collections.abc import Sequence
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from shoal_numerics.features.events import Arrival
from shoal_training.errors import StreamError
from shoal_training.feature_store.event_source import EventResults, EventSource
from shoal_training.kafka import KafkaCluster, KafkaPublisher, NotSentError, told

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

_log = getLogger(__name__)
_POLL_S: Final = 0.1
_PARTITIONS_S: Final = 60.0
"""How often it is looked whether the topic has more partitions."""


class KafkaEvents(EventSource):
    """Messages of a topic; from its start where the group has never committed.

    Args:
        cluster: Where.
        topic: The topic.
        group: By which the brokers know what was done; one stream has it at a time.
        is_keyed: Whether a message's key names the entity; else the event itself does.
        start_s: How long `start` waits for partitions.
    """

    def __init__(
        self, cluster: KafkaCluster, topic: str, group: str, *, is_keyed: bool = False, start_s: float = 30.0
    ) -> None:
        self._cluster, self._topic, self._group = cluster, topic, group
        self._is_keyed, self._start_s = is_keyed, start_s
        self._consumer: Consumer | None = None
        self._settings: dict[str, Any] = {}
        self._trouble = ""
        self._partitions: set[int] = set()
        self._looked_s = 0.0
        self._came: list[Message] = []
        self._open: dict[int, int] = {}

    @property
    def _label(self) -> str:
        return f"kafka://{self._cluster.servers}/{self._topic}"

    def start(self) -> None:
        """See `EventSource`."""
        from confluent_kafka import Consumer, KafkaException

        self._settings = self._cluster.client_settings(f"connecting to {self._label}") | {
            "group.id": self._group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "error_cb": self._note,
        }
        self._consumer = Consumer(self._settings)
        try:
            self._wait_for_partitions(time.monotonic() + self._start_s)
        except KafkaException as error:
            self.stop()
            reason = self._trouble or told(error, self._settings)
            raise StreamError(f"connecting to {self._label}: {reason}; do its brokers run, and let you in?") from error
        except StreamError:
            self.stop()
            raise

    def take(self, most: int, timeout_s: float) -> list[Arrival]:
        """See `EventSource`."""
        if not self._came:
            self._look_for_partitions()
            message = self._running.poll(timeout_s)
            if message is not None:
                self._keep(message)
        if self._came and len(self._came) < most:
            for message in self._running.consume(most - len(self._came), timeout=0):
                self._keep(message)
        taken, self._came = self._came[:most], self._came[most:]
        return [self._arrival(message) for message in taken]

    def done(self, arrivals: Sequence[Arrival]) -> None:  # noqa: ARG002 - all that were taken are
        """See `EventSource`."""
        from confluent_kafka import KafkaException, TopicPartition

        if not self._open:
            return
        offsets = [TopicPartition(self._topic, number, offset) for number, offset in self._open.items()]
        try:
            self._running.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            inner: Any = error.args[0]
            if not inner.retriable():
                raise StreamError(f"committing to {self._label}: {told(error, self._settings)}") from error
            _log.warning("%s: %s; events may come twice", self._label, told(error, self._settings))
            return  # the next commit has these offsets too
        self._open.clear()

    def stop(self) -> None:
        """See `EventSource`."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    @property
    def _running(self) -> "Consumer":
        if self._consumer is None:
            raise StreamError(f"taking events of {self._label}: it is not started")
        return self._consumer

    def _wait_for_partitions(self, deadline_s: float) -> None:
        while not self._assign(max(deadline_s - time.monotonic(), _POLL_S)):
            if time.monotonic() > deadline_s:
                raise StreamError(f"connecting to {self._label}: {self._trouble}; make the topic, or mend its name")

    def _assign(self, timeout_s: float) -> bool:
        """Take the partitions that are not taken yet, from where the group is; return whether there are any at all.

        Raises:
            KafkaException: No broker answers in time, or it does not tell where the group is.
        """
        from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

        self._running.poll(0)  # serves what the client has to tell
        about = self._running.list_topics(self._topic, timeout=timeout_s).topics[self._topic]
        if about.error is not None:
            self._trouble = about.error.str()
            return False
        new = [TopicPartition(self._topic, number) for number in sorted(set(about.partitions) - self._partitions)]
        if new:
            for one in self._running.committed(new, timeout=timeout_s):
                if one.error is not None:  # its offset looks as if nothing had ever been committed
                    raise KafkaException(one.error)
                if one.offset < 0:
                    one.offset = OFFSET_BEGINNING
                self._running.incremental_assign([one])
                self._partitions.add(one.partition)
        self._looked_s = time.monotonic()
        return bool(self._partitions)

    def _look_for_partitions(self) -> None:
        from confluent_kafka import KafkaException

        if time.monotonic() - self._looked_s < _PARTITIONS_S:
            return
        try:
            self._assign(self._start_s)
        except KafkaException as error:
            _log.warning("%s: %s; it goes on with the partitions that it has", self._label, told(error, self._settings))

    def _keep(self, message: "Message") -> None:
        error: Any = message.error()
        if error is None:
            self._came.append(message)
        elif error.fatal() or not error.retriable():
            raise StreamError(f"taking events of {self._label}: {error.str()}; see that it may be read")

    def _arrival(self, message: "Message") -> Arrival:
        self._open[message.partition() or 0] = (message.offset() or 0) + 1
        key: Any = message.key() if self._is_keyed else None
        return Arrival(bytes(message.value() or b""), time.time_ns(), (key or b"").decode(errors="replace"))

    def _note(self, error: Any) -> None:  # noqa: ANN401 - Confluent's, without types
        self._trouble = str(error.str())
        _log.warning("%s: %s", self._label, self._trouble)


class KafkaResults(EventResults):
    """Publishes lines to a topic, each once though answers are lost.

    Args:
        cluster: Where.
        topic: The topic.
        timeout_s: How long it waits for the brokers.
    """

    def __init__(self, cluster: KafkaCluster, topic: str, timeout_s: float = 30.0) -> None:
        self._cluster, self._topic, self._timeout_s = cluster, topic, timeout_s
        self._publisher: KafkaPublisher | None = None

    @property
    def _label(self) -> str:
        return f"kafka://{self._cluster.servers}/{self._topic}"

    def start(self) -> None:
        """See `EventResults`."""
        doing = f"connecting to {self._label}"
        try:
            self._publisher = KafkaPublisher(self._cluster, doing, self._timeout_s)
            self._publisher.reach()
        except NotSentError as error:
            raise StreamError(f"{doing}: {error}; do its brokers run, and let you in?") from error

    def publish(self, lines: Sequence[bytes], keys: Sequence[str] = ()) -> None:
        """See `EventResults`."""
        if self._publisher is None:
            raise StreamError(f"publishing to {self._label}: it is not started")
        try:
            for place, line in enumerate(lines):
                self._publisher.send(self._topic, line, keys[place] if keys else None)
            self._publisher.confirm()
        except NotSentError as error:
            raise StreamError(
                f"publishing to {self._label}: {error}; do its brokers run, and may you write? Then start again"
            ) from error

    def stop(self) -> None:
        """See `EventResults`."""
        self._publisher = None
