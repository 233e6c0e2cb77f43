"""Several messages of the outbox in one: each is read as if it had come alone, and none stands in another's way."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.golden_enrolment import NOON
from tests.contract.golden_messages import MESSAGES
from tests.contract.golden_windows import window

from shoal_contract.batch import BatchChannel, pack, unpack
from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_BATCH_MESSAGES, MAX_INTEGER, MAX_REPORT_BYTES
from shoal_contract.telemetry import DeploymentEvent, Event, OutboxPosition, TelemetryMessage
from shoal_contract.wire import parse_message

FIRST = OutboxPosition(stream="0123456789abcdef", sequence=5, oldest=3)
TEXTS = st.text(max_size=20).filter(lambda text: "\x00" not in text)
BAD = [
    b'{"event_id":"x"}',
    b'{"schema_version":9,"body":{}}',
    b'{"body":{"kind":"dance"}}',
    b"17",
    b"null",
    b"[[[[]]]]",
    b'{"body":null}',
    b'{"event_id":"' + b"0" * 32 + b'","at":1e999,"body":{"kind":"deployment"}}',
]
BAD_IDS = ["form", "version", "kind", "number", "null", "list", "no body", "no time"]


def place(sequence: int) -> OutboxPosition:
    return FIRST.model_copy(update={"sequence": sequence})


def event(sequence: int, model: str = "digits", deployment: str = "dp-1") -> Event:
    body = DeploymentEvent(model=model, version=1, deployment=deployment, step="fetch", duration_s=0.1)
    return Event(event_id=f"{sequence:032x}", outbox=place(sequence), at=NOON, body=body)


def raw(messages: list[bytes], outbox: OutboxPosition = FIRST) -> bytes:
    return b'{"outbox":%b,"messages":[%b]}' % (outbox.model_dump_json().encode(), b",".join(messages))


@given(st.lists(TEXTS, min_size=1, max_size=10))
def test_an_event_in_a_batch_is_read_as_if_it_had_come_alone(deployments: list[str]) -> None:
    alone = [event(5 + index, deployment=text) for index, text in enumerate(deployments)]
    packed = pack(FIRST, "events", [one.to_bytes() for one in alone])
    assert list(unpack(packed, "events")) == [(one.outbox, one) for one in alone]
    assert [parse_message(Event, one.to_bytes(), MAX_REPORT_BYTES) for one in alone] == alone


@pytest.mark.parametrize("channel", ["events", "windows"])
def test_every_kind_comes_through_as_its_golden_example_has_it(channel: BatchChannel) -> None:
    name, kind = ("event-", Event) if channel == "events" else ("telemetry-", TelemetryMessage)
    examples: list[Any] = [one.message for key, one in MESSAGES.items() if key.startswith(name) and "beat" not in key]
    packed = pack(FIRST, channel, [one.to_bytes() for one in examples])
    read = [message for _, message in unpack(packed, channel)]
    assert all(isinstance(one, kind) for one in read)
    assert [_without_place(one.to_bytes()) for one in read] == [_without_place(one.to_bytes()) for one in examples]  # type: ignore[union-attr]


def _without_place(message: bytes) -> Any:
    read = json.loads(message)
    (read["body"] if "outbox" in read["body"] else read).pop("outbox")
    return read


@pytest.mark.parametrize("bad", BAD, ids=BAD_IDS)
@pytest.mark.parametrize("channel", ["events", "windows"])
def test_a_message_that_cannot_be_read_keeps_its_place_and_holds_up_no_other(bad: bytes, channel: BatchChannel) -> None:
    good = event(5).to_bytes() if channel == "events" else TelemetryMessage(body=window()).to_bytes()
    read = list(unpack(raw([good, bad, good]), channel))
    assert [at.sequence for at, _ in read] == [5, 6, 7]
    assert [isinstance(message, MessageError) for _, message in read] == [False, True, False]


def test_a_nul_character_costs_the_one_message_that_holds_it() -> None:
    bad = event(6).to_bytes().replace(b"dp-1", b"dp\\u0000")
    read = [message for _, message in unpack(raw([event(5).to_bytes(), bad, event(7).to_bytes()]), "events")]
    assert [isinstance(message, MessageError) for message in read] == [False, True, False]


def test_a_heartbeat_has_no_place_in_the_outbox_and_so_none_in_a_batch() -> None:
    beat = MESSAGES["telemetry-heartbeat"].message.to_bytes()
    ((at, message),) = unpack(raw([beat]), "windows")
    assert at == FIRST
    assert isinstance(message, MessageError)


def test_a_place_inside_a_message_counts_for_nothing() -> None:
    ((at, message),) = unpack(raw([event(99).to_bytes()]), "events")
    assert isinstance(message, Event)
    assert at == message.outbox == FIRST


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        raw([]),
        raw([b"1"] * (MAX_BATCH_MESSAGES + 1)),
        raw([b"[" * 5000 + b"]" * 5000]),
        raw([b'"\\ud800"']),
        raw([b"1"], place(MAX_INTEGER)),
        raw([b'"' + b"x" * MAX_REPORT_BYTES + b'"']),
    ],
    ids=["empty", "binary", "list", "none", "too many", "deep", "half a character", "last place", "too large"],
)
def test_what_is_no_batch_or_beyond_its_bounds_is_refused_as_a_whole(payload: bytes) -> None:
    with pytest.raises(MessageError):
        list(unpack(payload, "events"))


def test_as_many_as_the_bound_allows_are_read() -> None:
    messages = [event(5 + index).to_bytes() for index in range(MAX_BATCH_MESSAGES)]
    assert len(list(unpack(pack(FIRST, "events", messages), "events"))) == MAX_BATCH_MESSAGES
