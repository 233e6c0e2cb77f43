"""Streams: a real Mosquitto, and brokers of Kafka as librdkafka, the client's own library, doubles them.

No broker of Kafka can be installed from PyPI, Debian or npm. The double is the one that librdkafka's own tests use: it
speaks Kafka's protocol over TCP on loopback, and is started by a client that is asked for it.
"""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pyarrow as pa
import pytest
from confluent_kafka import Producer
from paho.mqtt.enums import CallbackAPIVersion
from tests.simulators.plain_broker import plain_broker

from shoal_training.errors import DataError
from shoal_training.ingestion.kafka_stream import KafkaSource
from shoal_training.ingestion.mqtt_stream import MqttSource
from shoal_training.ingestion.source import Reading, Source


def read(source: Source, **options: Any) -> tuple[list[pa.Table], Reading]:
    reading = Reading(Path(), **options)
    return list(source.tables(reading)), reading


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    with plain_broker(tmp_path) as port:
        yield port


class Publisher:
    """Publishes, and waits until the broker has it."""

    def __init__(self, port: int) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def publisher(broker: int) -> Iterator[Publisher]:
    publisher = Publisher(broker)
    yield publisher
    publisher.close()


def test_messages_of_mqtt_become_tables_by_count(broker: int, publisher: Publisher) -> None:
    for at in range(5):
        publisher.publish(f"plant/{at}/readings", json.dumps({"value": at + 0.5}).encode(), retain=True)
    fields: dict[str, Any] = {"host": "127.0.0.1", "port": broker, "topic": "plant/+/readings", "add": ["topic"]}
    source = MqttSource(**fields, window={"messages": 2}, windows=2, window_column="window")
    tables, _ = read(source)
    assert [len(one) for one in tables] == [2, 2]
    found = pa.concat_tables(tables)
    assert found["window"].to_pylist() == [1, 1, 2, 2]
    assert all(row["topic"] == f"plant/{int(row['value'])}/readings" for row in found.to_pylist())
    whole, _ = read(MqttSource(**fields, window={"messages": 100}, idle_s=0.5))
    assert sorted(whole[0]["value"].to_pylist()) == [0.5, 1.5, 2.5, 3.5, 4.5]


def test_messages_that_come_while_it_reads_fill_windows_by_time(broker: int, publisher: Publisher) -> None:
    is_subscribed = threading.Event()
    tables: list[pa.Table] = []

    def follow() -> None:
        source = MqttSource(
            host="127.0.0.1", port=broker, topic="live/#", window={"seconds": 0.4}, windows=20, idle_s=1.5
        )
        for table in source.tables(Reading(Path())):
            tables.append(table)
            is_subscribed.set()

    publisher.publish("live/first", b'{"value": 0}', retain=True)
    thread = threading.Thread(target=follow)
    thread.start()
    assert is_subscribed.wait(10)
    publisher.publish("live/now", b'[{"value": 1}, {"value": 2}]')
    thread.join(20)
    assert pa.concat_tables(tables)["value"].to_pylist() == [0, 1, 2]
    assert len(tables) == 2


def test_a_message_that_is_no_row_is_refused_by_its_number(broker: int, publisher: Publisher) -> None:
    for name, payload in (("a", b'{"value": 1}'), ("b", b"\xff no JSON"), ("c", b"3"), ("d", b'{"value": 4}')):
        publisher.publish(f"bad/{name}", payload, retain=True)
    source = MqttSource(host="127.0.0.1", port=broker, topic="bad/#", window={"messages": 4}, windows=1)
    tables, reading = read(source, is_strict=False)
    assert sorted(tables[0]["value"].to_pylist()) == [1, 4]
    assert reading.refused_count == 2
    with pytest.raises(DataError, match="mqtt://127.0.0.1:.*/bad/#, row [1-4]:"):
        read(source)


def test_a_broker_that_is_not_there_or_a_certificate_that_is_none_is_told(tmp_path: Path) -> None:
    source = MqttSource(host="127.0.0.1", port=9, topic="#", window={"messages": 1})
    with pytest.raises(DataError, match="mqtt://127.0.0.1:9/#: .*refused; see that the broker runs"):
        read(source)
    with pytest.raises(DataError, match="nothing.pem: .*name a file of certificates"):
        read(source.model_copy(update={"ca_file": str(tmp_path / "nothing.pem")}))
    with pytest.raises(ValueError, match="add: colour is not known of a message, only topic, received_at"):
        MqttSource(host="127.0.0.1", topic="#", window={"messages": 1}, add=["colour"])


@pytest.fixture(scope="module")
def kafka() -> Producer:
    return Producer({"test.mock.num.brokers": 2, "log_level": 0})


@pytest.fixture
def topic(kafka: Producer, request: pytest.FixtureRequest) -> str:
    """A topic of the test's own, with 40 messages over its partitions."""
    name = request.node.name.replace("[", "-").replace("]", "")[-200:]
    send(kafka, name, range(40))
    return name


def send(kafka: Producer, topic: str, numbers: range) -> None:
    for at in numbers:
        kafka.produce(topic, json.dumps({"at": at}), key=f"k{at}", partition=at % 4, timestamp=1_700_000_000_000 + at)
    assert kafka.flush(10) == 0


def servers(kafka: Producer) -> str:
    return ",".join(f"{one.host}:{one.port}" for one in kafka.list_topics(timeout=10).brokers.values())


def test_a_topic_of_kafka_is_read_from_its_start_to_its_end(kafka: Producer, topic: str) -> None:
    fields = {"servers": servers(kafka), "topic": topic, "window": {"messages": 16}}
    source = KafkaSource(**fields, add=["partition", "offset", "sent_at", "key"])
    tables, _ = read(source)
    assert [len(one) for one in tables] == [16, 16, 8]
    rows = sorted(pa.concat_tables(tables).to_pylist(), key=lambda row: int(row["at"]))
    assert [row["at"] for row in rows] == list(range(40))
    assert [(row["partition"], row["key"]) for row in rows[:2]] == [(0, "k0"), (1, "k1")]
    assert rows[0]["sent_at"].timestamp() == 1_700_000_000
    assert len(pa.concat_tables(read(source)[0])) == 40  # nothing was committed
    assert [len(one) for one in read(KafkaSource(**fields, windows=1))[0]] == [16]


def test_what_is_sent_while_a_topic_is_read_is_for_the_next_reading(kafka: Producer, topic: str) -> None:
    source = KafkaSource(servers=servers(kafka), topic=topic, window={"messages": 10})
    rows = []
    with source.receiving(Reading(Path())) as receive:  # it knows where the topic ends
        send(kafka, topic, range(40, 80))
        while (found := receive(10)) != "end":
            assert found is not None
            rows.append(json.loads(found.payload)["at"])
    assert sorted(rows) == list(range(40))


def test_from_the_latest_on_windows_are_filled_by_what_comes(kafka: Producer, topic: str) -> None:
    source = KafkaSource(servers=servers(kafka), topic=topic, start="latest", window={"messages": 4}, windows=1)
    found: list[pa.Table] = []
    with source.receiving(Reading(Path())) as receive:  # it has its place in the topic
        send(kafka, topic, range(100, 104))
        message = receive(10)
        while message is None:
            message = receive(10)
        assert message != "end"
        found.append(json.loads(message.payload)["at"])
    assert found[0] in range(100, 104)


def test_a_topic_that_is_not_there_and_messages_that_are_no_rows_are_told(kafka: Producer, topic: str) -> None:
    kafka.produce(topic, b"no JSON", partition=0)
    kafka.produce(topic, None, key="k1", partition=0)  # a tombstone is no row, and no fault
    assert kafka.flush(10) == 0
    tables, reading = read(KafkaSource(servers=servers(kafka), topic=topic, window={"messages": 50}), is_strict=False)
    assert (len(tables[0]), reading.refused_count) == (40, 1)
    with pytest.raises(DataError, match=r"kafka://127.0.0.1:9/plant: .*see that it runs"):
        read(KafkaSource(servers="127.0.0.1:9", topic="plant", window={"messages": 1}, connect_s=0.5))
    with pytest.raises(ValueError, match="sasl.password holds a secret"):
        KafkaSource(servers="a:1", topic="b", window={"messages": 1}, settings={"sasl.password": "tidings"})


def test_a_broker_of_kafka_that_falls_silent_is_not_the_end_of_its_topic(kafka: Producer, topic: str) -> None:
    """The client tries to reach it for ever and says nothing, as one that was told to pause does."""
    source = KafkaSource(servers=servers(kafka), topic=topic, window={"messages": 100}, idle_s=0.3)
    with source.receiving(Reading(Path())) as receive:
        receiving: Any = receive
        consumer = receiving.__self__._consumer
        consumer.pause(consumer.assignment())
        with pytest.raises(
            DataError, match="nothing came for 0.3 s, though partitions go on.*see that its brokers run"
        ):
            [receive(0.4) for _ in range(100)]
