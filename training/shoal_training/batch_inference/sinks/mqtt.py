"""Answers as messages of an MQTT 5 broker: a row each, as JSON, with its key as the user property `shoal-key`."""

import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field

from shoal_training.batch_inference.sinks.noted import NotedWriter
from shoal_training.batch_inference.sinks.sink import Sink, SinkContext, Writer
from shoal_training.errors import SinkError
from shoal_training.secret import secret

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessageInfo

KEY_PROPERTY: Final = "shoal-key"
_UNDER_WAY: Final = 1_000
"""Messages that wait for the broker's word at once."""
_TOPIC = r"^[^+#\x00]+$"


class MqttSink(Sink):
    """A topic. A part that was being sent when the process was killed comes again, under the same keys."""

    kind: ClassVar[str] = "mqtt"
    is_exactly_once: ClassVar[bool] = False

    host: str = Field(min_length=1, max_length=255)
    port: int = Field(default=1883, ge=1, le=65_535)
    topic: str = Field(pattern=_TOPIC, min_length=1, max_length=1024)
    manifest_topic: str | None = Field(default=None, pattern=_TOPIC, min_length=1, max_length=1024)
    """Gets the manifest, retained, once all parts are there."""
    username: str | None = Field(default=None, max_length=256)
    password_env: str | None = Field(default=None, min_length=1, max_length=256)
    """The environment variable that holds the password."""
    ca_file: str | None = Field(default=None, max_length=4096)
    """With it by TLS: certificates of authorities in PEM, by the file; `system`: the machine's own."""
    timeout_s: float = Field(default=30, gt=0, le=3600)
    """For the broker to answer."""

    @property
    def label(self) -> str:
        """See `Sink`."""
        return f"mqtt://{self.host}:{self.port}/{self.topic}"

    @contextmanager
    def opened(self, context: SinkContext) -> Iterator[Writer]:
        """See `Sink`."""
        client, answered = self._client(context.folder), threading.Event()
        refused: list[str] = []

        def connected(_client: "Client", _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401 - paho's
            if reason.is_failure:
                refused.append(str(reason))
            answered.set()

        client.on_connect = connected
        try:
            client.connect(self.host, self.port)
        except (OSError, ValueError) as error:
            raise SinkError(f"writing to {self.label}: {error}; see that the broker runs and may be reached") from error
        client.loop_start()
        try:
            if not answered.wait(self.timeout_s) or refused:
                told = refused[0] if refused else f"no answer within {self.timeout_s:g} s"
                raise SinkError(f"writing to {self.label}: {told}; mend the name, the password or the rights")
            yield _MqttWriter(self, client, context)
        finally:
            client.disconnect()
            client.loop_stop()

    def _client(self, folder: Path) -> "Client":
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        if self.username is not None or self.password_env is not None:
            password = secret(self.password_env, f"writing to {self.label}") if self.password_env else None
            client.username_pw_set(self.username, password)
        try:
            if self.ca_file is not None:
                file = None if self.ca_file == "system" else str(folder / self.ca_file)
                client.tls_set_context(ssl.create_default_context(cafile=file))
        except (OSError, ssl.SSLError) as error:
            raise SinkError(f"writing to {self.label}: {self.ca_file}: {error}; name a file of certificates") from error
        return client


class _MqttWriter(NotedWriter):
    def __init__(self, sink: MqttSink, client: "Client", context: SinkContext) -> None:
        super().__init__(context.run, context.notes)
        self._sink, self._client = sink, client
        self._refused: dict[int, str] = {}
        client.on_publish = self._answered

    def send(self, part: int, rows: Iterator[bytes]) -> None:
        """See `NotedWriter`; the broker's word is waited for, a thousand messages behind."""
        under_way: deque[MQTTMessageInfo] = deque()
        for at, row in enumerate(rows, 1):
            under_way.append(self._publish(self._sink.topic, row, self.key(part, at)))
            if len(under_way) >= _UNDER_WAY:
                self._confirm(under_way.popleft())
        while under_way:
            self._confirm(under_way.popleft())

    def send_manifest(self, content: bytes) -> None:
        """See `NotedWriter`."""
        if self._sink.manifest_topic is not None:
            self._confirm(self._publish(self._sink.manifest_topic, content, self.run, is_retained=True))

    def _publish(self, topic: str, payload: bytes, key: str, *, is_retained: bool = False) -> "MQTTMessageInfo":
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = (KEY_PROPERTY, key)
        properties.ContentType = "application/json"
        try:
            return self._client.publish(topic, payload, qos=1, retain=is_retained, properties=properties)
        except ValueError as error:
            raise SinkError(f"writing to {self._sink.label}: {error}; send smaller rows") from error

    def _answered(self, _client: "Client", _data: Any, number: int, reason: Any, _properties: Any) -> None:  # noqa: ANN401 - paho's
        """Note what the broker refuses: paho marks it as published too, after this call."""
        if reason.is_failure:
            self._refused[number] = str(reason)

    def _confirm(self, sent: "MQTTMessageInfo") -> None:
        ends_at = time.monotonic() + self._sink.timeout_s
        try:
            sent.wait_for_publish(self._sink.timeout_s)
            is_confirmed = sent.is_published()
        except (RuntimeError, ValueError) as error:
            raise SinkError(f"writing to {self._sink.label}: {error}; run again when the broker is there") from error
        if not is_confirmed:
            waited_s = self._sink.timeout_s - max(0.0, ends_at - time.monotonic())
            raise SinkError(
                f"writing to {self._sink.label}: a message was not confirmed within {waited_s:.0f} s; run again when "
                "the broker is there"
            )
        if reason := self._refused.pop(sent.mid, ""):
            raise SinkError(f"writing to {self._sink.label}: refused: {reason}; mend the name's rights or the topic")
