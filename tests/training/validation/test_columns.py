"""Checks of the values of single columns: which rows each finds, and what it says of them."""

from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.training.validation.tables import bad_rows, check, found

from shoal_training.errors import DataError

NAN, INF = float("nan"), float("inf")
WORDS = pa.array(["a", None, "b", ""]).dictionary_encode()
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("column", "kind", "fields", "rows"),
    [
        ([1.0, None, NAN], "not_null", {}, [1, 2]),
        ([1, None, 3], "not_null", {}, [1]),
        (["a", None, ""], "not_null", {}, [1]),
        (["a", None, ""], "not_null", {"empty_is_null": True}, [1, 2]),
        (WORDS, "not_null", {"empty_is_null": True}, [1, 3]),
        ([0.0, 1.0, 2.5, NAN, None, INF, -INF], "range", {"min": 0, "max": 2}, [2, 5, 6]),
        ([0.0, 1.0, 2.0], "range", {"min": 0, "max": 2, "exclusive": True}, [0, 2]),
        ([2**53 + 1, 2**53 - 1], "range", {"max": 2**53}, [0]),
        ([None, NAN], "range", {"max": 1}, []),
        (["a", "b", None, "z"], "categories", {"known": ["a", "b"]}, [3]),
        (WORDS, "categories", {"known": ["a", "b"]}, [3]),
        ([1, 2, None, 3], "categories", {"known": [1, 2]}, [3]),
        ([True, False], "categories", {"known": [True]}, [1]),
        (["a"] * 9 + ["b", None], "categories", {"rare_ratio": 0.1}, [9]),
        (["AB-1", "AB-", "xAB-1", None, "AB-1\n"], "pattern", {"pattern": r"AB-\d|x"}, [1, 2, 4]),
        (["AB-1", "x"] * 50, "pattern", {"pattern": r"AB-\d"}, list(range(1, 100, 2))),
        (WORDS, "pattern", {"pattern": "[ab]"}, [3]),
    ],
)
def test_a_check_finds_the_rows_that_do_not_keep_it(
    column: Any, kind: str, fields: dict[str, Any], rows: list[int]
) -> None:
    outcome = found({"x": column}, kind, columns=["x"], **fields)
    assert bad_rows(outcome) == rows
    assert outcome.passed == (not rows)


def test_times_lie_within_bounds_whatever_their_zone() -> None:
    times = [NOON, NOON.replace(hour=13)]
    for kind in (pa.timestamp("us", "Europe/Berlin"), pa.timestamp("ns"), pa.timestamp("s", "UTC")):
        plain = [one.replace(tzinfo=None) for one in times] if kind.tz is None else times
        outcome = found({"at": pa.array(plain, kind)}, "range", columns=["at"], max="2026-03-01T12:30:00Z")
        assert bad_rows(outcome) == [1]


def test_what_was_found_is_said_with_its_rows_the_most_frequent_first() -> None:
    outcome = found({"x": [5, 5, -5, 1], "y": [None, 1, 1, 1]}, "range", columns=["x", "y"], min=0, max=2)
    assert outcome.message == "3 of 4 rows: x is above 2 (2); x is below 0 (1)"
    assert [(reason, mask.tolist()) for reason, mask in outcome.reasons] == [
        ("x is above 2", [True, True, False, False]),
        ("x is below 0", [False, False, True, False]),
    ]


def test_rows_up_to_a_share_are_tolerated_and_named_all_the_same() -> None:
    outcome = found({"x": [1, 2, 3, None]}, "not_null", columns=["x"], tolerated_ratio=0.25)
    assert outcome.passed
    assert bad_rows(outcome) == [3]


def test_unknown_categories_are_shown() -> None:
    outcome = found({"x": ["a", "q"]}, "categories", columns=["x"], known=["a"])
    assert outcome.message == "1 of 2 rows: x is none of the known categories: q (1)"


@pytest.mark.parametrize(
    ("column", "fields", "stuck"),
    [
        ([1, 1, 1], {}, True),
        ([1.0, 1.0, NAN, None], {}, True),
        ([1, 1, 2], {}, False),
        (["a"] * 19 + ["b"], {"max_ratio": 0.9}, True),
        ([None, None], {}, True),
        ([True, False], {}, False),
    ],
)
def test_a_column_that_is_stuck_is_named(column: Any, fields: dict[str, Any], stuck: bool) -> None:
    table = pa.table({"x": pa.array(column, pa.float64()) if column == [None, None] else column})
    assert found(table, "not_constant", **fields).passed != stuck


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        ("not_null", {"columns": ["z"]}, "there is no column z; the table has x"),
        ("range", {"columns": ["x"], "min": 0}, "column x is string, expected a number or a time"),
        ("categories", {"columns": ["n"], "known": ["a"]}, "known categories are no int64"),
        ("pattern", {"columns": ["x"], "pattern": "("}, "no regular expression of RE2"),
        ("range", {"columns": ["n"], "min": "2026-01-01T00:00:00Z"}, "give a number"),
    ],
)
def test_what_can_not_be_examined_is_told(kind: str, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        found({"x": ["a"], "n": [1]}, kind, **fields)


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        ("range", {"columns": ["x"]}, "no bound is given"),
        ("range", {"columns": ["x"], "min": 2, "max": 1}, "give a min below the max"),
        ("categories", {"columns": ["x"]}, "nothing is asked"),
        ("not_null", {"columns": []}, "at least 1"),
    ],
)
def test_a_check_that_asks_nothing_is_no_check(kind: str, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check(kind, **fields)


@given(st.lists(st.one_of(st.none(), st.floats(), st.sampled_from([-1.0, 0.0, 1.0]))), st.booleans())
def test_a_range_is_what_numpy_says_of_each_number(values: list[float | None], exclusive: bool) -> None:
    column = pa.array(values, pa.float64())
    outcome = found(pa.table({"x": column}), "range", columns=["x"], min=-1, max=1, exclusive=exclusive)
    numbers = np.array([NAN if one is None else one for one in values], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        expected = (numbers <= -1) | (numbers >= 1) if exclusive else (numbers < -1) | (numbers > 1)
    assert outcome.is_bad is not None
    np.testing.assert_array_equal(outcome.is_bad, expected)
