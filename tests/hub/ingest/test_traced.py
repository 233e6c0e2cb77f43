"""Devices continue traces that the hub has told somebody of, and no others, whatever they send along."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from tests.hub.broker.test_mqtt_client import packed
from tests.hub.statements import statements
from tests.hub.tracing.recorder import recording

from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_contract.trace_context import MAX_TRACE_CONTEXTS, TraceContext
from shoal_hub.database import Database
from shoal_hub.ingest.traced import BatchTraces
from shoal_hub.mqtt import NONE, Message
from shoal_hub.mqtt_client import read_publish
from shoal_hub.tracing.remembered import remember
from shoal_hub.tracing.spans import span

DEVICE = new_device_id()
TOPIC = topics.up(DEVICE, "event")
KNOWN = TraceContext("a" * 32, "1" * 16, is_sampled=True)
OTHER = TraceContext("b" * 32, "2" * 16, is_sampled=True)
MADE_UP = TraceContext("e" * 32, "3" * 16, is_sampled=True)


def message(*traces: TraceContext, is_retained: bool = False) -> Message:
    return Message(TOPIC, b"x", is_retained, lambda: None, time.monotonic() - 1, traces)


def properties(*pairs: tuple[str, str]) -> Properties:
    found = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    found.UserProperty = list(pairs)
    return found


def know(database: Database, *contexts: TraceContext) -> None:
    for number, context in enumerate(contexts):
        with database.transaction() as session, span("request", context):
            remember(session, f"rollout/{number}")


def test_each_known_trace_of_a_message_is_continued_from_its_arrival_on(database: Database) -> None:
    with recording() as recorder:
        know(database, KNOWN, OTHER)
        traces = BatchTraces(database, [message(KNOWN, OTHER, MADE_UP), message(MADE_UP)])
        acknowledged = traces.properties_of(DEVICE)
        traces.end()
    spans = [one for one in recorder.ended if one.name == "ingest"]
    assert [one.parent for one in spans] == [KNOWN, OTHER]
    assert all(one.attributes["is_back_dated"] and one.attributes["device"] == DEVICE for one in spans)
    assert acknowledged == {"traceparent": str(spans[0].context)}


def test_what_the_broker_has_kept_or_nobody_records_continues_nothing(sqlite_database: Database) -> None:
    unsampled = KNOWN._replace(is_sampled=False)
    with recording() as recorder:
        know(sqlite_database, KNOWN)
        traces = BatchTraces(sqlite_database, [message(KNOWN, is_retained=True), message(unsampled)])
        assert traces.properties_of(DEVICE) is NONE
        traces.end()
    assert recorder.names == ["request"]


def test_messages_without_a_trace_and_a_hub_that_makes_none_ask_the_database_nothing(
    sqlite_database: Database,
) -> None:
    with statements(sqlite_database) as seen:
        BatchTraces(sqlite_database, [message(KNOWN)])
        with recording():
            BatchTraces(sqlite_database, [message()])
    assert seen == []


def test_contexts_are_read_from_a_packet_and_bounded() -> None:
    many = [("traceparent", f"00-{'a' * 32}-{number:016x}-01") for number in range(1, 20)]
    arrival = read_publish(0x30, packed(TOPIC, b"payload", 0, properties(("x", "y"), *many)))
    assert (arrival.payload, len(arrival.traces)) == (b"payload", MAX_TRACE_CONTEXTS)
    flood = properties(many[0], *(("x", "y" * 100) for _ in range(50)))
    assert read_publish(0x30, packed(TOPIC, b"payload", 0, flood)).traces == (), "longer than anybody needs"


@given(st.binary(max_size=200))
def test_properties_that_are_no_whole_ones_are_no_error_and_no_trace(rubbish: bytes) -> None:
    body = rubbish + b"\x26\x00\x0btraceparent"  # a pair that is cut off
    length = bytes([len(body) % 128 | 0x80, len(body) // 128]) if len(body) > 127 else bytes([len(body)])
    name = TOPIC.encode()
    packet = len(name).to_bytes(2, "big") + name + length + body + b"payload"
    arrival = read_publish(0x30, packet)
    assert (arrival.payload, arrival.traces) == (b"payload", ())


@pytest.mark.parametrize("value", ["", "x" * 55, "00-" + "0" * 32 + "-" + "1" * 16 + "-01"])
def test_a_property_of_another_form_is_no_trace(value: str) -> None:
    assert read_publish(0x30, packed(TOPIC, b"", 0, properties(("traceparent", value), ("z", "z" * 80)))).traces == ()
