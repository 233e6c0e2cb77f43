"""Checks of a table as a whole: columns, number of rows, age, and the columns of each row beside each other."""

import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from tests.training.validation.tables import bad_rows, check, found

from shoal_training.errors import DataError
from shoal_training.validation.tables import Freshness

NOW = datetime(2026, 3, 2, tzinfo=timezone.utc)
TABLE = pa.table({"id": [1, 2], "x": [0.5, 1.5], "word": ["a", "b"]})


def test_columns_that_are_missing_extra_or_of_another_type_are_named() -> None:
    outcome = found(TABLE, "schema", columns={"id": "int32", "x": "number", "y": "text"})
    assert not outcome.passed
    assert outcome.message == "missing: y; extra: word; retyped: id is int64 instead of int32"


@pytest.mark.parametrize("kind", ["double", "float64", "number"])
def test_types_are_named_as_arrow_does_or_by_kind(kind: str) -> None:
    assert found(TABLE, "schema", columns={"id": "int64", "x": kind}, extra=True).passed


def test_without_columns_those_of_the_version_before_are_expected() -> None:
    before = TABLE.drop_columns(["x"])
    assert found(TABLE, "schema", before).message == "extra: x"
    assert found(TABLE, "schema", TABLE).passed
    assert found(TABLE, "schema").passed


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"min": 3}, "2 rows: at least 3 expected"),
        ({"max": 1}, "2 rows: at most 1 expected"),
        ({"max_change_ratio": 0.4}, r"2 rows: \+100.0% beside the 1 of the version before"),
    ],
)
def test_too_few_and_too_many_rows_are_told(fields: dict[str, Any], told: str) -> None:
    outcome = found(TABLE, "row_count", TABLE.slice(0, 1), **fields)
    assert not outcome.passed
    assert re.fullmatch(told, outcome.message)


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_the_newest_time_may_not_be_too_old(zone: str | None) -> None:
    at = NOW - timedelta(hours=30)
    column = pa.array([at - timedelta(days=9), None, at], pa.timestamp("us", "UTC")).cast(pa.timestamp("us", zone))
    table = pa.table({"at": column})
    day, week = (Freshness(column="at", max_age=timedelta(days=days)) for days in (1, 7))
    assert week.at(table, NOW).passed
    assert day.at(table, NOW).message == "the newest at is 2026-02-28 18:00 UTC, 30.0 hours ago; 24.0 hours expected"
    assert day.asks_the_clock


def test_an_age_is_written_as_iso_8601_has_it() -> None:
    assert check("freshness", column="at", max_age="PT36H") == check("freshness", column="at", max_age=129_600)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("a <= b", [1]),
        ("a + 1 < b * 2 and b > 0", [1]),
        ("not a > b", [1]),
        ("0 < a < 5", [1]),
        ("`net weight` >= a / 2 or word == 'x'", [1]),
        ("-a < 0", []),
        ("word != 'y'", [1]),
        ("a - big != 0", []),
    ],
)
def test_a_formula_holds_in_each_row_or_is_not_known(expression: str, rows: list[int]) -> None:
    big = pa.array([2**62, 2**62, None])
    table = {"a": [1, 9, None], "b": [2, 3, 1], "net weight": [1.0, 2.0, 0.0], "word": ["x", "y", None], "big": big}
    assert bad_rows(found(table, "expression", expression=expression)) == rows


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "a.b < 1",
        "a",
        "a < [1]",
        "a if b else c < 1",
        "(lambda: 1) < 2",
        "a ** 9 < 1",
        "a in (1, 2)",
        "a <",
        "a < 1j",
        "-" * 60 + "a < 1",
        "f'{a}' < 'b'",
    ],
)
def test_what_is_no_formula_is_refused_and_never_run(expression: str) -> None:
    with pytest.raises(ValueError, match=r"formula|compares nothing"):
        check("expression", expression=expression)


def test_texts_and_numbers_are_not_compared() -> None:
    with pytest.raises(DataError, match="compare values of one kind"):
        found({"a": [1], "w": ["x"]}, "expression", expression="a < w")
