"""Rows from messages of an MQTT 5 broker."""

import queue
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_training.errors import DataError
from shoal_training.ingestion.source import Reading
from shoal_training.ingestion.windows import Message, Receive, StreamSource
from shoal_training.secret import secret

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

_FACTS: Final = ("topic", "received_at")
_MAX_WAITING: Final = 100_000
"""Messages between the network and the reader; beyond these the network waits, and the broker holds or drops them."""


class MqttSource(StreamSource):
    """Messages under a topic, from when it is read on; retained ones come first. Rows may add topic and received_at."""

    kind: ClassVar[str] = "mqtt"

    host: str = Field(min_length=1, max_length=255)
    port: int = Field(default=1883, ge=1, le=65_535)
    topic: str = Field(min_length=1, max_length=1024)
    """With wildcards, as in `plant/+/readings`."""
    qos: int = Field(default=1, ge=0, le=2)
    username: str | None = Field(default=None, max_length=256)
    password_env: str | None = Field(default=None, min_length=1, max_length=256)
    """The environment variable that holds the password."""
    ca_file: str | None = Field(default=None, max_length=4096)
    """With it by TLS: certificates of authorities in PEM, by the pipeline file; `system`: the machine's own."""
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
        return self.name or f"mqtt://{self.host}:{self.port}/{self.topic}"

    @contextmanager
    def receiving(self, reading: Reading) -> Iterator[Receive]:
        """See `StreamSource`."""
        waiting: queue.Queue[Message] = queue.Queue(_MAX_WAITING)
        told: queue.Queue[str] = queue.Queue()
        client = self._client(reading, waiting, told)
        try:
            client.connect(self.host, self.port)
        except (OSError, ValueError) as error:
            raise DataError(f"reading {self.label}: {error}; see that the broker runs and may be reached") from error
        client.loop_start()
        try:
            refused = self._answer(told)
            if refused:
                raise DataError(f"reading {self.label}: {refused}; mend the name, the password or the rights")
            yield lambda seconds: _next(waiting, seconds)
        finally:
            client.disconnect()
            while not waiting.empty():  # or the network's thread may wait for room and never end
                waiting.get_nowait()
            client.loop_stop()

    def _client(self, reading: Reading, waiting: "queue.Queue[Message]", told: "queue.Queue[str]") -> "Client":
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        if self.username is not None or self.password_env is not None:
            password = secret(self.password_env, f"reading {self.label}") if self.password_env else None
            client.username_pw_set(self.username, password)
        if self.ca_file is not None:
            client.tls_set_context(self._tls(reading))

        def connected(client: "Client", _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401 - paho's
            if reason.is_failure:
                told.put(str(reason))
            else:
                client.subscribe(self.topic, self.qos)

        def subscribed(_client: "Client", _data: Any, _id: Any, reasons: Any, _properties: Any) -> None:  # noqa: ANN401
            told.put(next((f"the subscription: {one}" for one in reasons if one.is_failure), ""))

        def arrived(_client: "Client", _data: Any, message: "MQTTMessage") -> None:  # noqa: ANN401 - paho's
            facts = {"topic": message.topic, "received_at": datetime.now(timezone.utc)}
            waiting.put(Message(bytes(message.payload), facts))

        client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, arrived
        return client

    def _answer(self, told: "queue.Queue[str]") -> str:
        try:
            return told.get(timeout=self.connect_s)
        except queue.Empty:
            return f"no answer within {self.connect_s:g} s"

    def _tls(self, reading: Reading) -> ssl.SSLContext:
        try:
            if self.ca_file == "system":
                return ssl.create_default_context()
            return ssl.create_default_context(cafile=str(reading.folder / str(self.ca_file)))
        except (OSError, ssl.SSLError) as error:
            raise DataError(f"reading {self.label}: {self.ca_file}: {error}; name a file of certificates") from error


def _next(waiting: "queue.Queue[Message]", seconds: float) -> Message | None:
    try:
        return waiting.get(timeout=seconds)
    except queue.Empty:
        return None
