"""Sinks that send: a real Mosquitto, Kafka as librdkafka doubles it, a real HTTP receiver."""

import json
import threading
from collections.abc import Iterator
from getpass import getuser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from paho.mqtt.enums import CallbackAPIVersion
from tests.checks.inference_sink import InferenceSinkChecks, table
from tests.simulators.plain_broker import plain_broker

from shoal_training.batch_inference.manifest import Manifest
from shoal_training.batch_inference.sinks.http import HttpSink
from shoal_training.batch_inference.sinks.kafka import KafkaSink
from shoal_training.batch_inference.sinks.mqtt import MqttSink
from shoal_training.batch_inference.sinks.sink import Sink, SinkContext
from shoal_training.errors import SinkError

Sent = list[tuple[str, str, bytes]]
"""Topic or path, key, and what was sent."""


class _Sending(InferenceSinkChecks):
    """`sent` gives what has come to the receiver."""

    def sent(self) -> Sent:
        raise NotImplementedError

    def rows(self, sink: Sink, context: SinkContext) -> list[dict[str, Any]]:  # noqa: ARG002 - see `_Sending`
        return [json.loads(content) for where, _, content in self.sent() if not where.endswith("done")]

    def manifests(self, sink: Sink, context: SinkContext) -> list[Manifest]:  # noqa: ARG002 - see `_Sending`
        return [Manifest.model_validate_json(content) for where, _, content in self.sent() if where.endswith("done")]

    def test_each_row_has_a_key_of_its_own_that_a_repeat_has_too(self, sink: Sink, context: SinkContext) -> None:
        for _ in range(2):
            with sink.opened(context) as writer:
                writer.write(7, table(7))
            for note in context.notes.iterdir():
                note.unlink()  # as a kill between the confirmation and the note leaves it
        found = [(key, content) for _, key, content in self.sent()]
        assert len(found) == 2 * len(set(found))
        assert all(key.startswith("run-1/7/") for key, _ in found)


class TestMqtt(_Sending):
    """A broker on loopback, with a subscriber."""

    @pytest.fixture(autouse=True)
    def _subscriber(self, tmp_path: Path) -> Iterator[None]:
        self.got: Sent = []
        self.heard = threading.Condition()
        with plain_broker(tmp_path) as port:
            self.port = port
            client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
            ready = threading.Event()
            client.on_subscribe = lambda *_: ready.set()
            client.on_message = self._heard
            client.connect("127.0.0.1", port)
            client.loop_start()
            client.subscribe("#", qos=1)
            assert ready.wait(10)
            yield
            client.disconnect()
            client.loop_stop()

    @pytest.fixture
    def sink(self) -> Sink:
        return MqttSink(host="127.0.0.1", port=self.port, topic="scores", manifest_topic="scores/done")

    def _heard(self, _client: Any, _data: Any, message: Any) -> None:
        [(_, key)] = message.properties.UserProperty
        with self.heard:
            self.got.append((message.topic, key, message.payload))
            self.heard.notify_all()

    def sent(self) -> Sent:
        """Return what has come before a last message of our own."""
        done = "end"
        last = MqttSink(host="127.0.0.1", port=self.port, topic=done)
        with last.opened(SinkContext(done, Path(), Path())) as writer:
            writer.send(0, iter([b"{}"]))  # type: ignore[attr-defined]
        with self.heard:
            assert self.heard.wait_for(lambda: any(one[0] == done for one in self.got), 10)
            return [one for one in self.got if one[0] != done]


@pytest.fixture(scope="module")
def kafka() -> Producer:
    return Producer({"test.mock.num.brokers": 1, "log_level": 0})


class TestKafka(_Sending):
    """The double of Kafka's protocol that comes with the client."""

    @pytest.fixture(autouse=True)
    def _topic(self, kafka: Producer, request: pytest.FixtureRequest) -> None:
        self.topic = request.node.name
        brokers = kafka.list_topics(timeout=10).brokers.values()
        self.servers = ",".join(f"{one.host}:{one.port}" for one in brokers)

    @pytest.fixture
    def sink(self) -> Sink:
        return KafkaSink(servers=self.servers, topic=self.topic, manifest_topic=f"{self.topic}-done")

    def sent(self) -> Sent:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "test", "log_level": 0})
        found: Sent = []
        for topic in (self.topic, f"{self.topic}-done"):
            for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                place = TopicPartition(topic, number, 0)
                _, end = consumer.get_watermark_offsets(place, timeout=10)
                consumer.assign([place])
                while end:
                    message = consumer.poll(10)
                    assert message is not None
                    headers = dict(message.headers() or [])
                    assert headers["shoal-key"] == message.key()
                    found.append((topic, (message.key() or b"").decode(), message.value() or b""))
                    if (message.offset() or 0) + 1 >= end:
                        break
        consumer.close()
        return found


class _Receiver(BaseHTTPRequestHandler):
    server: "_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.got.append((self.path, self.headers["Idempotency-Key"], body))
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.got: Sent = []
        self.answers: list[int] = []


class TestHttp(_Sending):
    """A receiver on loopback."""

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        self.server = _Server()
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        yield
        self.server.shutdown()
        self.server.server_close()

    @pytest.fixture
    def sink(self) -> Sink:
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        return HttpSink(url=f"{url}/rows", manifest_url=f"{url}/done", rows_per_request=2, retries=2)

    def sent(self) -> Sent:
        return self.server.got

    def rows(self, sink: Sink, context: SinkContext) -> list[dict[str, Any]]:  # noqa: ARG002 - see `_Sending`
        return [row for path, _, body in self.sent() if path == "/rows" for row in json.loads(body)["rows"]]

    def test_a_busy_receiver_is_asked_again_under_the_same_key(self, sink: Sink, context: SinkContext) -> None:
        self.server.answers = [503, 429, 200, 500]
        with sink.opened(context) as writer:
            writer.write(1, table(1))
        assert [key for _, key, _ in self.server.got] == ["run-1/1/1", "run-1/1/2"]

    def test_a_receiver_that_refuses_or_stays_away_is_told_and_the_part_is_not_noted(
        self, sink: Sink, context: SinkContext
    ) -> None:
        self.server.answers = [403]
        with sink.opened(context) as writer:
            with pytest.raises(SinkError, match=r"/rows: it answers 403: .*mend the address, the token"):
                writer.write(1, table(1))
            self.server.answers = [503] * 3
            with pytest.raises(SinkError, match="it answers 503, 3 times"):
                writer.write(1, table(1))
            assert writer.written() == {}


def test_a_broker_that_refuses_a_message_is_told_and_the_part_is_not_noted(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "acl").write_text("topic write open/#\n")
    with plain_broker(tmp_path, more=f"user {getuser()}\nacl_file {tmp_path / 'acl'}\n") as port:
        context = SinkContext("r", tmp_path, tmp_path / "notes")
        with MqttSink(host="127.0.0.1", port=port, topic="closed").opened(context) as writer:
            with pytest.raises(SinkError, match="closed: refused: Not authorized"):
                writer.write(1, table(1))
            assert writer.written() == {}
        with MqttSink(host="127.0.0.1", port=port, topic="open/x").opened(context) as writer:
            assert writer.write(1, table(1)).rows == 3


def test_receivers_that_are_not_there_are_told(tmp_path: Path) -> None:
    context = SinkContext("r", tmp_path, tmp_path)
    broker = MqttSink(host="127.0.0.1", port=9, topic="t")
    with pytest.raises(SinkError, match="mqtt://127.0.0.1:9/t: .*refused"), broker.opened(context):
        pass
    kafka = KafkaSink(servers="127.0.0.1:9", topic="t", timeout_s=1)
    with kafka.opened(context) as writer, pytest.raises(SinkError, match="kafka://127.0.0.1:9/t: "):
        writer.write(1, table(1))
    http = HttpSink(url="http://127.0.0.1:9/", retries=0)
    with http.opened(context) as writer, pytest.raises(SinkError, match="http://127.0.0.1:9/: ConnectError"):
        writer.write(1, table(1))
