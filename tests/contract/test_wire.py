"""Reading messages from untrusted bytes: what is refused, and that refusal is always a `MessageError`."""

import contextlib
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.contract.golden_enrolment import NOON
from tests.contract.golden_messages import MESSAGES

from shoal_contract.desired import DesiredConfig
from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_INTEGER, MAX_REPORT_BYTES
from shoal_contract.reported import Presence
from shoal_contract.telemetry import Heartbeat, TelemetryMessage
from shoal_contract.wire import parse_message

PRESENCE = {
    "state": "online", "connection": 5, "sequence": 1, "since": "2026-03-01T12:00:00Z", "instance": "0" * 16
}  # fmt: skip
HEARTBEAT = {
    "kind": "heartbeat", "at": "2026-03-01T12:00:00Z", "uptime_s": 1, "memory_bytes": 1, "load": 1, "outbox_depth": 0,
    "connection": 1, "sequence": 0,
}  # fmt: skip


def _presence(**changes: Any) -> Presence:
    return parse_message(Presence, json.dumps({**PRESENCE, **changes}).encode(), MAX_REPORT_BYTES)


@given(st.binary(max_size=300), st.sampled_from(sorted(MESSAGES)))
def test_arbitrary_bytes_raise_nothing_but_a_message_error(data: bytes, name: str) -> None:
    with contextlib.suppress(MessageError):
        parse_message(MESSAGES[name].kind, data, 10_000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_any_value_in_the_place_of_any_field_raises_nothing_but_a_message_error(data: st.DataObject) -> None:
    golden = MESSAGES[data.draw(st.sampled_from(sorted(MESSAGES)))]
    document = json.loads(golden.message.to_bytes())
    place = document
    while True:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    with contextlib.suppress(MessageError):
        message = parse_message(golden.kind, json.dumps(document).encode(), 100_000)
        # by their bytes, as a batch carries what it does not look into, and a NaN is not equal to itself
        assert parse_message(golden.kind, message.to_bytes(), 100_000).to_bytes() == message.to_bytes()


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_every_truncation_of_a_message_is_refused(name: str) -> None:
    golden = MESSAGES[name]
    data = golden.message.to_bytes()
    for length in range(len(data)):
        with pytest.raises(MessageError):
            parse_message(golden.kind, data[:length], golden.max_bytes)


def test_a_message_over_its_bound_is_refused_before_it_is_read() -> None:
    with pytest.raises(MessageError, match="131073 bytes found, at most 131072 allowed"):
        parse_message(Presence, b" " * (MAX_REPORT_BYTES + 1), MAX_REPORT_BYTES)


def test_a_message_of_exactly_its_bound_is_read() -> None:
    data = json.dumps(PRESENCE).encode()
    padded = data + b" " * (MAX_REPORT_BYTES - len(data))
    assert parse_message(Presence, padded, MAX_REPORT_BYTES).connection == 5


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", '"NaN"', '"inf"'])
def test_numbers_that_are_not_finite_are_refused(number: str) -> None:
    body = json.dumps(HEARTBEAT).replace('"load": 1', f'"load": {number}')
    with pytest.raises(MessageError, match=r"load: .*finite number"):
        parse_message(TelemetryMessage, f'{{"body": {body}}}'.encode(), MAX_REPORT_BYTES)


def test_a_sender_cannot_build_a_message_with_nan() -> None:
    with pytest.raises(ValidationError, match="finite number"):
        Heartbeat(at=NOON, uptime_s=float("nan"), memory_bytes=1, load=0.1, outbox_depth=0, connection=1, sequence=0)


@pytest.mark.parametrize("value", [MAX_INTEGER + 1, 10**40, -1, 1.5, "many", None])
def test_counts_that_no_column_could_hold_are_refused(value: object) -> None:
    assert _presence(sequence=MAX_INTEGER).sequence == MAX_INTEGER
    with pytest.raises(MessageError, match="sequence"):
        _presence(sequence=value)


@pytest.mark.parametrize("text", ["\0", "before\0after", "\\\0", "\\\\\0"])
def test_nul_characters_are_refused(text: str) -> None:
    """PostgreSQL stores no text with NUL: one device could stop the batch of all others."""
    with pytest.raises(MessageError, match="NUL character"):
        _presence(reason=text)


def test_nul_in_a_field_that_is_not_read_does_no_harm() -> None:
    """The hub reads the place of a message whose content it refuses: else the device would send it for ever."""
    assert _presence(field_of_tomorrow="\0").connection == 5


@pytest.mark.parametrize("text", ["\\u0000", "C:\\u0000", "\\\\u0000", "\N{BELL}\n\t\x01", "Störung"])
def test_text_that_only_looks_like_an_escaped_nul_is_kept(text: str) -> None:
    assert _presence(reason=text).reason == text


@pytest.mark.parametrize("reason", [b'"\\ud800"', b'"\xff\xfe"', b'"a\x00b"', b"'x'"])
def test_text_that_is_not_unicode_is_refused(reason: bytes) -> None:
    data = json.dumps({**PRESENCE, "reason": "X"}).encode().replace(b'"X"', reason)
    with pytest.raises(MessageError, match="JSON"):
        parse_message(Presence, data, MAX_REPORT_BYTES)


def test_deep_nesting_is_refused_and_does_not_overflow_the_stack() -> None:
    with pytest.raises(MessageError, match="recursion limit"):
        parse_message(Presence, b'{"x":' + b"[" * 100_000, MAX_REPORT_BYTES)


@pytest.mark.parametrize("since", ["2026-03-01T12:00:00", "2026-03-01", "yesterday", "2026-13-01T00:00:00Z"])
def test_times_without_an_offset_are_refused(since: str) -> None:
    with pytest.raises(MessageError, match="since"):
        _presence(since=since)


def test_times_are_read_as_utc_whatever_their_offset() -> None:
    since = _presence(since="2026-03-01T13:00:00+01:00").since
    assert since.utcoffset() == timedelta(0)
    assert since == datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_that_do_not_exist_in_utc_are_refused(since: str) -> None:
    with pytest.raises(MessageError, match="outside of the years 1 to 9999"):
        _presence(since=since)


def test_an_error_stays_short_however_long_the_hostile_field_is() -> None:
    data = json.dumps({**MESSAGES["reported-state"].message.model_dump(mode="json"), "sections": {"x" * 90_000: 1}})
    with pytest.raises(MessageError) as caught:
        parse_message(MESSAGES["reported-state"].kind, data.encode(), MAX_REPORT_BYTES)
    assert len(str(caught.value)) < 1000


def test_messages_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        DesiredConfig().heartbeat_s = 1.0  # type: ignore[misc]


def test_fields_that_are_none_do_not_travel() -> None:
    heartbeat = Heartbeat(at=NOON, uptime_s=1, memory_bytes=1, load=0.1, outbox_depth=0, connection=1, sequence=0)
    assert b"temperature_c" not in TelemetryMessage(body=heartbeat).to_bytes()
