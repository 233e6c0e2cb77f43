"""Steps of a transformation: what they make of rows, beside scikit-learn, and what is refused before training."""

from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler
from tests.training.transforms.graphs import Both, fitted

from shoal_training.errors import DataError
from shoal_training.transforms.fit_preparation import FEATURES, fit_preparation
from shoal_training.transforms.step import Step
from shoal_training.transforms.steps import BY_KIND

RANDOM = np.random.default_rng(0)
NUMBERS = pa.table({"a": RANDOM.normal(50, 20, 500), "b": RANDOM.exponential(3, 500)})
WORDS = pa.table({"word": RANDOM.choice(["red", "green", "blue"], 500)})
BLOCK = np.column_stack([NUMBERS["a"].to_numpy(), NUMBERS["b"].to_numpy()]).astype(np.float32)


def step(kind: str, **fields: Any) -> Step:
    return BY_KIND[kind].model_validate(fields)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (step("standardize"), StandardScaler()),
        (step("min_max", low=-1, high=1), MinMaxScaler((-1, 1))),
        (step("robust", low_quantile=0.1, high_quantile=0.9), RobustScaler(quantile_range=(10, 90))),
        (step("bin", bins=7), KBinsDiscretizer(7, encode="ordinal")),
    ],
)
def test_numbers_become_what_scikit_learn_makes_of_them(ours: Step, theirs: Any) -> None:
    found = fitted(NUMBERS, ours).prepared(NUMBERS)
    np.testing.assert_allclose(found, theirs.fit_transform(BLOCK.astype(np.float64)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("most", [None, 2])
def test_texts_become_the_columns_of_scikit_learn(most: int | None) -> None:
    unknown = "ignore" if most is None else "infrequent_if_exist"
    theirs = OneHotEncoder(handle_unknown=unknown, max_categories=most, sparse_output=False)
    expected = theirs.fit_transform(np.asarray(WORDS["word"].to_pylist(), dtype=object).reshape(-1, 1))
    np.testing.assert_array_equal(fitted(WORDS, step("one_hot", max_categories=most)).prepared(WORDS), expected)


def test_what_was_not_seen_is_no_category_and_a_missing_number_is_filled_in() -> None:
    table = pa.table({"a": [1.0, 2.0, 30.0], "word": ["x", "y", ""]})
    preparation = fitted(table, step("impute"), step("one_hot"))
    new = pa.table({"a": [None, 5.0], "word": ["z", None]}, pa.schema({"a": pa.float64(), "word": pa.string()}))
    assert preparation.features == ("a", "word=", "word=x", "word=y")
    np.testing.assert_array_equal(preparation.prepared(new), [[2, 0, 0, 0], [5, 1, 0, 0]])


def test_seconds_since_1970_keep_their_minutes_although_models_compute_in_32_bits() -> None:
    times = [datetime(2026, 2, 28, 23, 59, tzinfo=timezone.utc), datetime(2028, 2, 29, 0, 1, tzinfo=timezone.utc)]
    table = pa.table({"at": pa.array(times, pa.timestamp("ms", "UTC")), "s": [one.timestamp() for one in times]})
    steps = step(
        "date_parts", columns=["at"], parts=["year", "month", "day", "weekday", "is_weekend", "hour", "minute"]
    )
    preparation = fitted(table, steps, step("drop", columns=["s"]))
    assert [(one.name, one.datatype) for one in preparation.inputs] == [("at", "FP64")]
    expected = [[2026, 2, 28, 5, 1, 23, 59], [2028, 2, 29, 1, 0, 0, 1]]
    np.testing.assert_array_equal(preparation.prepared(table), expected)
    np.testing.assert_array_equal(Both(preparation).on_a_device(table), expected)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2000-02-29T12:00:00", [2000, 2, 29, 1]),
        ("1900-02-28T23:59:59", [1900, 2, 28, 2]),
        ("1900-03-01T00:00:00", [1900, 3, 1, 3]),
        ("1969-12-31T23:59:59", [1969, 12, 31, 2]),
        ("0001-01-01T00:00:00", [1, 1, 1, 0]),
        ("9999-12-31T23:59:59", [9999, 12, 31, 4]),
    ],
)
def test_days_at_the_turns_of_the_calendar_are_the_same_both_ways(at: str, expected: list[int]) -> None:
    table = pa.table({"at": pa.array([at]).cast(pa.timestamp("s"))})
    preparation = fitted(table, step("date_parts", parts=["year", "month", "day", "weekday"]))
    np.testing.assert_array_equal(preparation.prepared(table), [expected])
    np.testing.assert_array_equal(Both(preparation).on_a_device(table), [expected])


def test_an_hour_is_counted_where_the_clock_hangs() -> None:
    table = pa.table({"at": pa.array([datetime(2026, 1, 1, 23, tzinfo=timezone.utc)])})
    preparation = fitted(table, step("date_parts", parts=["day", "hour"], utc_offset_hours=2))
    np.testing.assert_array_equal(preparation.prepared(table), [[2, 1]])


def test_columns_made_of_others_stand_behind_them_and_a_ratio_to_nothing_is_what_is_said() -> None:
    table = pa.table({"a": [6.0, 1.0], "b": [2.0, 0.0]})
    steps = (step("ratio", columns=["a", "b"], when_zero=-1), step("difference", columns=["a", "b"], name="gap"))
    preparation = fitted(table, *steps, step("polynomial", columns=["a", "b"], interaction_only=True))
    assert preparation.features == ("a", "b", "a/b", "gap", "a*b")
    np.testing.assert_array_equal(preparation.prepared(table), [[6, 2, 3, 4, 12], [1, 0, -1, 1, 0]])


def test_a_column_that_is_dropped_unused_is_no_input_and_one_that_was_used_is() -> None:
    table = pa.table({"a": [1.0, 2.0], "b": [1.0, 3.0], "c": [0.0, 1.0]})
    steps = (step("ratio", columns=["a", "b"]), step("drop", columns=["b", "c"]))
    preparation = fitted(table, *steps)
    assert preparation.inputs[0].shape == (-1, 2)
    assert preparation.arrays(table)[FEATURES].tolist() == [[1, 1], [2, 3]]
    assert preparation.features == ("a", "a/b")
    Both(preparation).assert_same(table)


def test_whole_numbers_beyond_32_bits_are_taken_as_a_device_takes_them() -> None:
    table = pa.table({"n": [2**53 + 1, -(2**62)]})
    np.testing.assert_array_equal(fitted(table).prepared(table), np.array([[2**53], [-(2**62)]], dtype=np.float32))


@pytest.mark.parametrize(
    ("table", "steps", "told"),
    [
        ({"a": [1.0], "w": ["x"]}, [], "column w holds texts after all steps; add the step `one_hot`"),
        (
            {"w": ["x"]},
            [step("standardize", columns=["w"])],
            "w holds texts, expected numbers; make numbers of it before",
        ),
        ({"a": [1.0]}, [step("clip", columns=["z"], low=0)], "clip: there is no column z by then, only a"),
        ({"a": [1.0]}, [step("drop", columns=["a"]), step("log", columns=["a"])], "no column a by then"),
        ({"a": [1.0, np.inf]}, [step("standardize")], "1 of 2 rows have an infinite a; bound it by the step `clip`"),
        ({"a": [None, None]}, [step("impute")], "column a is null, expected numbers"),
        ({"a": [np.nan, np.nan]}, [step("impute")], "a holds no number in any row"),
        ({"a": [-2.0, 1.0]}, [step("log")], "a is as small as -2, and has no logarithm"),
        ({"a": [3.0, 3.0]}, [step("bin")], "a is 3 in every row, which makes no bins"),
        ({"w": ["1", "x"]}, [step("cast", columns=["w"], to="number")], "column w, string, as number: .*'x'"),
        (
            {"a": [1.0]},
            [step("standardize"), step("cast", columns=["a"], to="text"), step("drop", columns=["a"])],
            None,
        ),
        ({"w": ["a\0b"]}, [step("one_hot")], "a text of w has a NUL"),
        ({"a": [1.0], "b": [1.0]}, [step("ratio", columns=["a", "b"], name="b")], "there is a column b already"),
        ({"a": [1.0], "scores": ["x"]}, [step("one_hot")], "a column is called scores"),
        ({"a": [1.0]}, [step("drop", columns=["a"])], "no column is left"),
        ({"a": [[1.0]]}, [], "column a is list"),
        ({"w": [str(at) for at in range(10_001)]}, [step("one_hot")], "w has 10001 categories, .* `max_categories`"),
    ],
)
def test_what_can_not_be_done_is_told_before_training(table: dict[str, Any], steps: list[Step], told: str) -> None:
    found = pa.table(table)
    with pytest.raises(DataError, match=told):
        fit_preparation(found, found.column_names, steps)


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        ("impute", {"strategy": "constant"}, "`fill_value` belongs to the strategy `constant`"),
        ("clip", {}, "no bound is given"),
        ("clip", {"low": 1, "low_quantile": 0.1}, "a bound is given twice"),
        ("min_max", {"low": 1, "high": 1}, "give a low below the high"),
        ("ordinal", {"order": ["a", "a"]}, "names a text twice"),
        ("ratio", {"columns": ["a"]}, "columns"),
        ("standardize", {"with_mean": True}, "with_mean"),
    ],
)
def test_fields_that_make_no_sense_are_told_when_the_file_is_read(kind: str, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        step(kind, **fields)


def test_later_rows_have_to_hold_what_the_first_did() -> None:
    preparation = fitted(pa.table({"a": [1.0, 2.0]}))
    with pytest.raises(DataError, match="there is no column a"):
        preparation.prepared(pa.table({"b": [1.0]}))
    with pytest.raises(DataError, match="column a holds times"):
        preparation.prepared(pa.table({"a": pa.array([0], pa.timestamp("s"))}))
