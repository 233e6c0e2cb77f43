"""Packets in bulk: what is read many at a time, and sent many in one, is what it would be one by one."""

import queue
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet  # type: ignore[attr-defined]
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from tests.simulators.broker import WAIT_S, Broker, Listening, listening

from shoal_contract import topics
from shoal_hub import mqtt
from shoal_hub.mqtt import Connected, Connection, Event, Message, MqttError, Subscription
from shoal_hub.mqtt_client import Arrival, BatchClient, read_publish

TOPIC = topics.HUB_WAKE
NAMES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)


def packed(topic: str, payload: bytes, mid: int, properties: Properties) -> bytes:
    name = topic.encode()
    place = struct.pack("!H", mid) if mid else b""
    return struct.pack("!H", len(name)) + name + place + bytes(properties.pack()) + payload  # type: ignore[no-untyped-call]


def with_properties(texts: list[str]) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if texts:
        properties.UserProperty = [(text, text) for text in texts]
    return properties


@given(NAMES, st.binary(max_size=50), st.integers(0, 65_535), st.booleans(), st.lists(NAMES, max_size=5))
def test_a_message_is_read_as_paho_reads_it(
    topic: str, payload: bytes, mid: int, is_retained: bool, texts: list[str]
) -> None:
    packet = packed(topic, payload, mid, with_properties(texts))
    command = 0x30 | (2 if mid else 0) | is_retained
    by_paho = _packet.decode_publish(command, bytearray(packet), 5)
    arrival = read_publish(command, packet)
    assert arrival == Arrival(topic, payload, is_retained, by_paho.qos, mid)
    assert (by_paho.topic, by_paho.payload, by_paho.retain, by_paho.mid or 0) == (
        topic.encode(), payload, is_retained, mid
    )  # fmt: skip


@pytest.mark.parametrize("texts", [[], ["x" * 100, "y" * 100]], ids=["without", "with"])
def test_a_packet_that_is_cut_off_is_refused(texts: list[str]) -> None:
    whole = packed("a/b", b"", 7, with_properties(texts))
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=r"cut off|codec"):
            read_publish(0x32, whole[:length])


@pytest.mark.parametrize(
    ("command", "packet"),
    [
        (0x34, packed("a", b"x", 1, with_properties([]))),
        (0x30, b"\0\2\xff\xfe\0x"),
        (0x30, b"\0\1a\xff\xff\xff\xff\x7fx"),
        (0x30, b"\xff\xffa\0"),
    ],
    ids=["service", "no text", "length of five bytes", "topic longer than its packet"],
)
def test_what_no_sound_broker_sends_is_refused(command: int, packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"quality of service|codec|cut off"):
        read_publish(command, packet)


@pytest.mark.parametrize(
    "name",
    ["_packet_read", "_loop_rc_handle", "_packet_queue", "_handle_publish", "_handle_pubackcomp", "_do_on_publish"],
)
def test_paho_has_what_its_subclass_goes_by(name: str) -> None:
    assert callable(getattr(Client, name))


def test_messages_of_every_size_arrive_whole_and_in_order_from_a_connection_that_rests(broker: Broker) -> None:
    sizes = [0, 1, 100, 16_383, 16_384, 16_385, 100_000, 3] * 20
    with listening(broker.endpoint("hub-sender")) as sender, resting(broker) as hub:
        for index, size in enumerate(sizes):
            sender.connection.publish(TOPIC, bytes([index % 256]) * size)
        arrived = [hub.wait_for(Message).payload for _ in sizes]
    assert arrived == [bytes([index % 256]) * size for index, size in enumerate(sizes)]


@contextmanager
def resting(broker: Broker) -> Iterator[Listening]:
    """A connection that rests between two reads."""
    hub = Listening.__new__(Listening)
    hub.events = queue.SimpleQueue[Event]()
    hub.connection = Connection(broker.endpoint("hub-test"), [Subscription(TOPIC)], hub.events, rest_s=0.02)
    hub.connection.start()
    try:
        hub.wait_for(Connected)
        yield hub
    finally:
        hub.connection.stop()


def test_acknowledgements_that_are_gathered_reach_the_broker_in_one_write(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_RECEIVE_MAXIMUM", 20)
    with listening(broker.endpoint("hub-sender")) as sender, listening(broker.endpoint("hub-test"), TOPIC) as hub:
        for number in range(30):
            sender.connection.publish(TOPIC, str(number).encode()).result(WAIT_S)
        first = [hub.wait_for(Message) for _ in range(20)]
        sent = written(hub.connection, monkeypatch)
        with hub.connection.gathering():
            for message in first:
                message.acknowledge()
            assert sent == []
        assert [hub.wait_for(Message).payload for _ in range(10)] == [str(number).encode() for number in range(20, 30)]
    assert len(sent) == 1


def test_what_is_told_arrives_once_the_block_ends_and_nothing_is_kept_of_it(broker: Broker) -> None:
    with listening(broker.endpoint("hub-sender")) as sender, listening(broker.endpoint("hub-test"), TOPIC) as hub:
        with sender.connection.gathering():
            for number in range(1000):  # more than is gathered at most
                sender.connection.tell(TOPIC, str(number).encode() * 50)
        sender.connection.tell(TOPIC, b"by itself")
        arrived = [hub.wait_for(Message).payload for _ in range(1001)]
        session = sender.connection._session
        assert session is not None
        assert session._pending == {}
    assert arrived == [*(str(number).encode() * 50 for number in range(1000)), b"by itself"]


def test_what_is_published_leaves_in_one_write_and_each_message_is_confirmed(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(broker.endpoint("hub-sender")) as sender, listening(broker.endpoint("hub-test"), TOPIC) as hub:
        sent = written(sender.connection, monkeypatch)
        with sender.connection.gathering():
            futures = [sender.connection.publish(TOPIC, str(number).encode()) for number in range(20)]
            assert sent == []
        for future in futures:
            future.result(WAIT_S)
        assert len(sent) == 1
        assert [hub.wait_for(Message).payload for _ in range(20)] == [str(number).encode() for number in range(20)]


@pytest.mark.parametrize(
    "answer",
    [b"\0\1" + rest for rest in (b"", b"\x10", b"\x10\0", b"\x87", b"\x87\0", b"\x77")] + [b"\0\2", b"\1", b""],
    ids=[
        *("success", "nobody subscribes", "with properties", "refused", "refused with properties", "unknown"),
        *("of no message", "cut off", "empty"),
    ],
)
def test_an_answer_to_a_message_is_read_as_paho_reads_it(answer: bytes) -> None:
    assert heard(BatchClient, answer) == heard(Client, answer)


def heard(kind: type[Client], answer: bytes) -> tuple[list[object], int, int]:
    """Return what the owner hears of a message that was so answered, the code, and how many messages are kept then."""
    client = kind(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    told: list[object] = []
    client.on_publish = lambda _client, _data, mid, code, _properties: told.append((mid, code.value, code.is_failure))
    assert client.publish(TOPIC, b"x", qos=1).mid == 1
    client._in_packet = {"command": 0x40, "packet": bytearray(answer)}  # type: ignore[typeddict-item]
    try:
        code = int(client._packet_handle())
    except MalformedPacket:
        code = -1
    return told, code, len(client._out_messages)


def test_what_another_thread_sends_is_not_held_up_by_who_gathers(broker: Broker) -> None:
    with listening(broker.endpoint("hub-test"), TOPIC) as hub, ThreadPoolExecutor(1) as other:
        with hub.connection.gathering():
            hub.connection.tell(TOPIC, b"later")
            other.submit(hub.connection.tell, TOPIC, b"now").result(WAIT_S)
            assert hub.wait_for(Message).payload == b"now"
        assert hub.wait_for(Message).payload == b"later"


def test_telling_without_a_connection_fails_at_once_and_gathering_does_nothing(broker: Broker) -> None:
    connection = Connection(broker.endpoint("hub-test"), [], queue.SimpleQueue())
    with connection.gathering(), pytest.raises(MqttError, match="no connection"):
        connection.tell(TOPIC, b"x")


def written(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what this thread has the connection write, packet by packet, from now on."""
    sent: list[bytes] = []
    queue_packet, here = Client._packet_queue, threading.get_ident()

    def note(client: Client, command: int, packet: bytes, *rest: object) -> object:
        if client is written_by and threading.get_ident() == here:
            sent.append(bytes(packet))
        return queue_packet(client, command, packet, *rest)  # type: ignore[arg-type]

    session = connection._session
    assert session is not None
    written_by = session._client
    assert isinstance(written_by, BatchClient)
    monkeypatch.setattr(Client, "_packet_queue", note)
    return sent
