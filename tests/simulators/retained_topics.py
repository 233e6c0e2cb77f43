"""The retained topics of a broker, in memory."""

from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext

from shoal_hub.mqtt import NONE, MqttError


class RetainedTopics:
    """Implements `Publisher`; it can go away after so many messages."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.order: list[str] = []
        self.properties: dict[str, dict[str, str]] = {}
        self.dies_after: int | None = None

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, properties: Mapping[str, str] = NONE
    ) -> "Future[None]":
        if self.dies_after is not None and len(self.order) >= self.dies_after:
            raise MqttError("no connection", "wait")
        assert (qos, retain) == (1, True)
        self.order.append(topic)
        self.properties[topic] = dict(properties)
        if payload:
            self.retained[topic] = payload
        else:
            self.retained.pop(topic, None)
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def gathering(self) -> AbstractContextManager[None]:
        return nullcontext()
