"""Streams of Kafka: brokers as librdkafka, the client's own library, doubles them (see `ingestion/test_streams.py`)."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from tests.training.feature_store.clicks import DAY_S, START_S, S, stream

from shoal_numerics.features.events import Arrival
from shoal_training.errors import PipelineError, StreamError
from shoal_training.feature_store.definition import KafkaOutput, read_stream
from shoal_training.feature_store.kafka import KafkaEvents, KafkaResults
from shoal_training.feature_store.stream import FeatureStream
from shoal_training.kafka import KafkaCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    double = Producer({"test.mock.num.brokers": 2, "log_level": 0})
    servers = ",".join(f"{one.host}:{one.port}" for one in double.list_topics(timeout=10).brokers.values())
    yield KafkaCluster(servers=servers)
    del double


def some(source: KafkaEvents, count: int) -> list[Arrival]:
    found: list[Arrival] = []
    while len(found) < count:
        came = source.take(1000, 20.0)
        assert came, f"{len(found)} of {count} came in time"
        found += came
    return found


def test_clicks_of_a_topic_become_results_on_another_keyed_by_entity(cluster: KafkaCluster, tmp_path: Path) -> None:
    output = KafkaOutput(broker=cluster, topic="features")
    definition = stream(output=output)
    running, stop = FeatureStream(definition, tmp_path, []), threading.Event()
    with KafkaResults(cluster, "clicks") as shop:
        lines = [json.dumps({"t": START_S + at, "amount": 2.0}).encode() for at in (0, 60, DAY_S)]
        shop.publish(lines, ["ann"] * 3)
    with KafkaEvents(cluster, "clicks", "stream", is_keyed=True) as source, output.open() as results:
        running._sinks = [
            lambda closed: results.publish(
                [line for one in closed for line in one.lines()],
                [entity for one in closed for entity in one.rows.windows.entities],
            )
        ]
        thread = threading.Thread(target=running.run, args=(source, stop.is_set))
        thread.start()
        with KafkaEvents(cluster, "features", "reads", is_keyed=True) as listener:
            found: list[Arrival] = []
            while not any(b'"session"' in one.data for one in found):
                found += some(listener, 1)
        stop.set()
        thread.join()
    session = next(one for one in found if b'"session"' in one.data)
    told = json.loads(session.data)
    assert (session.entity, told["entity"], told["events"], told["features"]) == ("ann", "ann", 2, {"count": 2.0})
    assert told["end_ns"] == (START_S + 60 + 1800) * S


def test_what_was_not_done_comes_again_after_a_restart_and_what_was_does_not(cluster: KafkaCluster) -> None:
    with KafkaResults(cluster, "again") as sender:
        sender.publish([b"one", b"two"], ["k", "k"])  # one key, one partition, one order
    with KafkaEvents(cluster, "again", "comes-again") as source:
        first = source.take(1, 20.0)
        source.done(first)
        assert [one.data for one in (*first, *some(source, 1))] == [b"one", b"two"]  # and the second is not done
    with KafkaResults(cluster, "again") as sender:
        sender.publish([b"three"], ["k"])
    with KafkaEvents(cluster, "again", "comes-again") as source:
        assert [one.data for one in some(source, 2)] == [b"two", b"three"]
    with KafkaEvents(cluster, "again", "somebody-else") as source:
        assert len(some(source, 3)) == 3, "another stream has its own place in the topic"


def test_looking_for_more_partitions_begins_none_again(cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_training.feature_store.kafka._PARTITIONS_S", 0.0)
    with KafkaResults(cluster, "looked") as sender:
        with pytest.raises(StreamError, match=r"looked: .*make the topic, or mend its name"):
            KafkaEvents(cluster, "looked", "looks", start_s=0.2).start()
        sender.publish([b"one"])
    with KafkaResults(cluster, "looked") as sender, KafkaEvents(cluster, "looked", "looks") as source:
        assert [one.data for one in some(source, 1)] == [b"one"]
        sender.publish([b"two"])
        assert [one.data for one in some(source, 1)] == [b"two"]


def test_events_that_came_and_were_not_yet_taken_are_not_told_as_done(cluster: KafkaCluster) -> None:
    with KafkaResults(cluster, "held") as sender:
        sender.publish([str(at).encode() for at in range(10)], ["k"] * 10)
    with KafkaEvents(cluster, "held", "holds") as source:
        taken = [one for _ in range(3) for one in source.take(1, 20.0)]
        source.done(taken)
    with KafkaEvents(cluster, "held", "holds") as source:
        assert [one.data for one in some(source, 7)] == [str(at).encode() for at in range(3, 10)]


def test_a_line_that_is_too_large_is_told_with_what_to_do(cluster: KafkaCluster) -> None:
    with (
        KafkaResults(cluster, "large") as sender,
        pytest.raises(StreamError, match=r"publishing to kafka://.*/large: .*large.* raise `message.max.bytes`"),
    ):
        sender.publish([b"x" * 2_000_000])


def test_a_place_that_the_brokers_can_not_tell_is_not_taken_for_none(
    cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with KafkaResults(cluster, "untold") as sender:
        sender.publish([b"one", b"two"], ["k", "k"])
    with KafkaEvents(cluster, "untold", "knows") as source:
        source.done(source.take(1, 20.0))
    monkeypatch.setattr("confluent_kafka.Consumer", Untold)
    with (
        pytest.raises(StreamError, match="connecting to kafka://.*/untold: "),
        KafkaEvents(cluster, "untold", "knows", start_s=3.0),
    ):
        pass
    monkeypatch.undo()
    with KafkaEvents(cluster, "untold", "knows") as source:
        assert [one.data for one in some(source, 1)] == [b"two"]


class Untold:
    """A consumer whose brokers answer, with an error instead of a partition's offset; the double can not be told to."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._inner = Consumer(settings)

    def committed(self, asked: list[Any], timeout: float) -> list[Any]:  # noqa: ARG002 - Confluent's
        error = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
        return [SimpleNamespace(partition=one.partition, offset=-1001, error=error) for one in asked]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_brokers_that_are_not_there_are_told() -> None:
    nowhere = KafkaCluster(servers="127.0.0.1:1")
    source = KafkaEvents(nowhere, "x", "nobody", start_s=0.3)
    with pytest.raises(StreamError, match="connecting to kafka://127.0.0.1:1/x: .*do its brokers run"), source:
        pass
    with pytest.raises(StreamError, match="connecting to kafka://127.0.0.1:1/x: .*do its brokers run"):
        KafkaResults(nowhere, "x", timeout_s=0.3).start()


def test_a_stream_file_names_a_topic_of_kafka_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "clicks.yaml"
    text = """name: clicks
events: {kind: kafka, broker: {servers: "a:9092", settings: {%s}}, topic: clicks, entity_key: true}
definitions: {n: {window: {kind: count, size: 5, every: 5}, features: {n: {aggregate: events, ttl_s: 60}}}}
output: {kind: kafka, broker: {servers: "a:9092"}, topic: features}
"""
    file.write_text(text % "security.protocol: SSL")
    read = read_stream(file)
    assert isinstance(read.events.open("clicks"), KafkaEvents)
    assert read.output is not None
    assert isinstance(read.output.open(), KafkaResults)
    file.write_text(text % "sasl.password: tidings")
    with pytest.raises(PipelineError, match="line 2: .*sasl.password holds a secret"):
        read_stream(file)
