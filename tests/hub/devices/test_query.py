"""The query language: what is read is what was written, it means what its words mean, and it has bounds."""

import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.hub.devices.queries import Drawn, devices, expressions, means
from tests.simulators.rows import NOON, make_report

from shoal_hub.devices.query import MAX_QUERY_CHARACTERS, MAX_QUERY_DEPTH, Query, QueryError, parse_query
from shoal_hub.devices.query_fields import FIELDS, find_field
from shoal_hub.devices.tables import Device


def device_of(drawn: Drawn) -> Device:
    return made(**drawn.columns())


def made(**columns: Any) -> Device:
    whole = {"id": "d-" + "a" * 16, "public_key_sha256": "0" * 64, "certificate_serial": "1", "enrolled_at": NOON}
    return Device(**(whole | columns))


def matches(text: str, **columns: Any) -> bool:
    return parse_query(text).matches(made(**columns), NOON)


@given(root=expressions)
def test_a_query_that_is_shown_is_read_as_the_same(root: Any) -> None:
    query = Query(root)
    assert parse_query(str(query)) == query


@given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
@example(value='"')
@example(value="\\")
@example(value="' or name = '")
@example(value="and")
def test_any_text_can_be_a_value_and_stays_the_text_that_it_is(value: str) -> None:
    query = parse_query(f"name = {_quoted(value)}")
    assert parse_query(str(query)) == query
    assert query.matches(made(name=value), NOON)
    assert not query.matches(made(name=value + "x"), NOON)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(root=expressions, drawn=devices)
def test_a_device_matches_exactly_if_the_words_say_so(root: Any, drawn: Drawn) -> None:
    assert Query(root).matches(device_of(drawn), NOON) == means(root, drawn)


@given(left=expressions, right=expressions, drawn=devices)
def test_not_and_or_agree_with_pythons(left: Any, right: Any, drawn: Drawn) -> None:
    device = device_of(drawn)
    one, two = (Query(root).matches(device, NOON) for root in (left, right))
    assert parse_query(f"({left}) and ({right})").matches(device, NOON) == (one and two)
    assert parse_query(f"({left}) or ({right})").matches(device, NOON) == (one or two)
    assert parse_query(f"not ({left})").matches(device, NOON) == (not one)


@given(root=expressions, drawn=devices)
def test_the_columns_that_a_query_names_are_enough_for_it(root: Any, drawn: Drawn) -> None:
    query = Query(root)
    columns = {"id": "d-" + "a" * 16, **drawn.columns()}

    class Row:
        """Has the named columns alone."""

    row: Any = Row()
    for name in query.columns:
        setattr(row, name, columns[name])
    assert query.matches(row, NOON) == means(root, drawn)


pieces = st.sampled_from([*"()=~,<>!\"' ", "and ", "not ", "in ", "name ", "x "])


@given(text=st.text(max_size=40) | st.lists(pieces).map("".join))
def test_any_text_is_a_query_or_an_error_that_tells_the_place(text: str) -> None:
    query, error = _read(text)
    if query is not None:
        assert parse_query(str(query)) == query
    if error is not None:
        assert 1 <= error.position <= len(text) + 1
        assert f"at character {error.position}" in error.message
        assert error.remedy


def _read(text: str) -> tuple[Query | None, QueryError | None]:
    try:
        return parse_query(text), None
    except QueryError as error:
        return None, error


@pytest.mark.parametrize(
    ("text", "position", "told"),
    [
        ("", 1, "a field, 'not' or '(' was expected, and it ends here"),
        ("name", 5, "an operator (= != < <= > >= ~ in) was expected"),
        ("name = ", 8, "a value was expected, and it ends here"),
        ("name == x", 7, "a value was expected"),
        ("name = a b", 10, "'and', 'or' or the end was expected"),
        ("(name = a", 10, "')' was expected, and it ends here"),
        ("name in a", 9, "'(' was expected"),
        ("name in (a", 11, "',' or ')' was expected"),
        ('name = "x', 8, "the quote is never closed"),
        ("name = a and colour = red", 14, "('colour'): there is no such field"),
        ("tags = a", 1, "no such field"),
        ("models.digits = 3", 1, "no such field"),
        ("presence = onlin", 12, "presence is never that"),
        ("last_seen < 10", 13, "a duration was expected"),
        ("last_seen = 10m", 11, "last_seen is an age, which = does not compare"),
        ("hardware.cores ~ 4", 16, "hardware.cores is a number, which ~ does not compare"),
        ("hardware.cores = four", 18, "a number was expected"),
        ("hardware.l4t < new", 16, "a version was expected"),
        ("name < b", 6, "name is a text, which < does not compare"),
        ("name = a\0", 9, "text that can be stored was expected"),
        ("name = \ud800", 8, "text that can be stored was expected"),
    ],
)
def test_an_error_tells_the_place_and_what_was_expected(text: str, position: int, told: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_query(text)
    assert caught.value.position == position
    assert told in caught.value.message


def test_an_unknown_field_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(QueryError) as caught:
        parse_query("colour = red")
    assert all(field in caught.value.remedy for field in FIELDS)
    for field in FIELDS:
        assert find_field(field.replace("NAME", "digits")) is not None


def test_a_query_is_bounded_in_length_and_depth() -> None:
    parse_query("name = " + "a" * (MAX_QUERY_CHARACTERS - 7))
    with pytest.raises(QueryError, match=f"{MAX_QUERY_CHARACTERS} is the most"):
        parse_query("name = " + "a" * (MAX_QUERY_CHARACTERS - 6))
    parse_query("not " * (MAX_QUERY_DEPTH - 1) + "name = a")
    with pytest.raises(QueryError, match="nested deeper than"):
        parse_query("not " * MAX_QUERY_DEPTH + "name = a")


def test_parentheses_alone_are_no_depth_and_exhaust_no_stack() -> None:
    assert str(parse_query("(" * 990 + "name = a" + ")" * 990)) == "name = a"
    with pytest.raises(QueryError):
        parse_query("(" * MAX_QUERY_CHARACTERS)


@pytest.mark.parametrize("pattern", ["*a" * 60 + "b", "*" * 200 + "b", "?*" * 60 + "b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    begun = time.process_time()
    assert not matches(f"name ~ {pattern}", name="a" * 256)
    assert time.process_time() - begun < 1


def test_and_binds_closer_than_or_and_not_closest() -> None:
    assert parse_query("name = a or name = b and not name = c or name = d") == parse_query(
        "name = a or (name = b and (not name = c)) or name = d"
    )


def test_the_words_are_read_in_any_case_and_their_beginnings_are_no_words() -> None:
    assert parse_query("NOT name = a AND name IN (b) OR id ~ d-*") == parse_query(
        "not name = a and name in (b) or id ~ d-*"
    )
    assert matches("tags.nothing = order and tags.inner = andy", tags={"nothing": "order", "inner": "andy"})


def test_what_a_device_does_not_have_is_only_unequal() -> None:
    for text in (
        "tags.site = paris",
        "tags.site ~ *",
        "tags.site >= 1",
        "models.digits.version >= 3",
        "last_seen < 9w",
    ):
        assert not matches(text, tags={}), text
        assert matches(f"not {text}", tags={}), text
    assert matches("tags.site != paris", tags={})


def test_hardware_is_what_the_device_reports_and_before_that_what_it_enrolled_as() -> None:
    enrolled = {"kind": "jetson", "model": "Orin", "architecture": "aarch64", "cores": 6, "memory_bytes": 2**33}
    assert matches("hardware.kind = jetson", hardware=enrolled)
    reported = make_report().model_dump(mode="json")
    assert matches("hardware.kind = generic and hardware.cores = 2", hardware=enrolled, reported=reported)


def test_a_version_is_ordered_as_versions_are_and_not_as_text() -> None:
    reported = make_report(agent_version="0.10.0").model_dump(mode="json")
    assert matches("agent_version > 0.9 and agent_version < 1 and agent_version ~ 0.10.*", reported=reported)
