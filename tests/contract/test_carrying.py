"""A reported state with events in it: the same state and the same events as if each had come alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.golden_messages import reported_state
from tests.contract.test_batch import BAD, BAD_IDS, FIRST, event

from shoal_contract.carrying import load, read_report
from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_BATCH_MESSAGES, MAX_REPORT_BYTES
from shoal_contract.reported import ModelReport, ReportedState
from shoal_contract.wire import parse_message

STATE = reported_state()
REPORT = STATE.to_bytes()
TEXTS = st.text(max_size=20).filter(lambda text: "\x00" not in text)


def carrying(*messages: bytes) -> bytes:
    place = FIRST.model_dump_json().encode()
    return b'%b,"carried":{"outbox":%b,"messages":[%b]}}' % (REPORT[:-1], place, b",".join(messages))


@given(st.lists(TEXTS, min_size=1, max_size=10))
def test_state_and_events_are_read_as_if_each_had_come_alone(deployments: list[str]) -> None:
    events = [event(5 + index, deployment=text) for index, text in enumerate(deployments)]
    state, carried, _ = read_report(load(REPORT, FIRST, [one.to_bytes() for one in events]))
    assert state.to_bytes() == REPORT
    assert list(carried) == [(one.outbox, one) for one in events]


def test_a_reader_that_knows_nothing_of_what_a_report_carries_reads_the_state() -> None:
    loaded = load(REPORT, FIRST, [event(5).to_bytes()])
    assert parse_message(ReportedState, loaded, MAX_REPORT_BYTES) == STATE


def test_a_report_that_carries_nothing_is_the_state_alone() -> None:
    state, carried, _ = read_report(REPORT)
    assert (state, list(carried)) == (STATE, [])


def test_a_model_by_the_name_of_the_field_is_no_cargo() -> None:
    named = STATE.model_copy(update={"models": {"carried": ModelReport()}})
    state, carried, _ = read_report(named.to_bytes())
    assert (state, list(carried)) == (named, [])


@pytest.mark.parametrize("bad", BAD, ids=BAD_IDS)
def test_an_event_that_cannot_be_read_keeps_its_place_and_holds_up_neither_state_nor_event(bad: bytes) -> None:
    state, carried, _ = read_report(carrying(event(5).to_bytes(), bad, event(7).to_bytes()))
    read = list(carried)
    assert state.to_bytes() == REPORT
    assert [place.sequence for place, _ in read] == [5, 6, 7]
    assert [isinstance(one, MessageError) for _, one in read] == [False, True, False]


def test_a_nul_character_in_an_event_costs_that_event_alone() -> None:
    bad = event(6).to_bytes().replace(b"dp-1", b"dp\\u0000")
    state, carried, _ = read_report(carrying(event(5).to_bytes(), bad))
    assert state.to_bytes() == REPORT
    assert [isinstance(one, MessageError) for _, one in carried] == [False, True]


def test_a_nul_character_in_the_state_is_refused_with_all_that_it_carries() -> None:
    loaded = carrying(event(5).to_bytes()).replace(b'"step":"self-test"', b'"step":"\\u0000"')
    with pytest.raises(MessageError, match="NUL"):
        read_report(loaded)


@pytest.mark.parametrize(
    "cargo",
    [b"7", b"[]", b"{}", b'{"outbox":null,"messages":[{}]}', b'{"schema_version":2}'],
    ids=["number", "list", "nothing", "no place", "version"],
)
def test_cargo_that_is_no_batch_is_refused_and_takes_nothing_of_the_state_along(cargo: bytes) -> None:
    state, carried, refused = read_report(b'%b,"carried":%b}' % (REPORT[:-1], cargo))
    assert (state.to_bytes(), list(carried)) == (REPORT, [])
    assert isinstance(refused, MessageError)


def test_more_messages_or_bytes_than_a_batch_or_a_report_may_have_are_refused() -> None:
    state, carried, refused = read_report(carrying(*[b"{}"] * (MAX_BATCH_MESSAGES + 1)))
    assert (state.to_bytes(), list(carried)) == (REPORT, [])
    assert "at most" in str(refused)
    with pytest.raises(MessageError, match="bytes found"):
        read_report(carrying(json.dumps("x" * MAX_REPORT_BYTES).encode()))
