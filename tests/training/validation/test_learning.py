"""Checks that look at how values are spread: drift, outliers, what gives the target away, and classes without rows."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.training.validation.tables import bad_rows, found

RANDOM = np.random.default_rng(0)
N = 2_000
X = RANDOM.normal(size=N)
WORDS = RANDOM.choice(["a", "b", "c"], N, p=[0.5, 0.4, 0.1])
BEFORE = pa.table({"x": X, "word": WORDS, "flag": X > 0})
CLASSES = np.where(X + RANDOM.normal(size=N) > 0, "yes", "no")


def test_the_same_source_has_not_drifted() -> None:
    again = pa.table({"x": RANDOM.normal(size=N), "word": RANDOM.permutation(WORDS), "flag": RANDOM.permutation(X > 0)})
    assert found(again, "drift", BEFORE).passed


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("x", X + 1),
        ("x", [None] * 400 + list(X[400:])),
        ("word", RANDOM.choice(["a", "b", "c"], N, p=[0.1, 0.4, 0.5])),
        ("word", np.full(N, "new")),
        ("flag", np.full(N, fill_value=True)),
    ],
)
def test_a_column_that_has_moved_is_named(name: str, values: Any) -> None:
    at = BEFORE.column_names.index(name)
    moved = BEFORE.set_column(at, name, pa.array(values))
    outcome = found(moved, "drift", BEFORE)
    assert not outcome.passed
    assert outcome.message.startswith(f"1 of 3 columns have drifted: {name} (")
    assert found(moved, "drift", BEFORE, max_drifted=1).passed


def test_without_a_version_before_nothing_has_moved_and_a_retyped_column_is_left_to_the_schema() -> None:
    assert found(BEFORE, "drift").message == "there is no version before to compare with"
    retyped = BEFORE.set_column(0, "x", pa.array(WORDS))
    assert found(retyped, "drift", BEFORE).message.endswith("the version before has them otherwise: x")


@pytest.mark.parametrize("method", ["z_score", "iqr", "isolation_forest"])
def test_a_row_far_out_is_found_by_each_method(method: str) -> None:
    table = {"x": np.append(X, [50.0, np.inf, np.nan]), "y": np.append(RANDOM.normal(size=N), [50.0, 0.0, 0.0])}
    outcome = found(table, "outliers", method=method, tolerated_ratio=0)
    assert not outcome.passed
    assert {N, N + 1} <= set(bad_rows(outcome))
    assert N + 2 not in bad_rows(outcome)
    assert len(bad_rows(outcome)) < 0.02 * N


def test_few_rows_far_out_are_taken_for_granted() -> None:
    assert found({"x": X}, "outliers").passed
    assert not found({"x": np.where(np.arange(N) % 20, X, 40.0)}, "outliers", method="z_score").passed


@pytest.mark.parametrize(
    ("leak", "told"),
    [
        (CLASSES, "leak is y in other words"),
        (np.where(CLASSES == "yes", 7, -3), "leak is y in other words"),
        (np.where(RANDOM.random(N) < 0.999, CLASSES, "no"), "leak alone predicts y"),
        (np.where(CLASSES == "yes", 1.0, -1.0) * (1 + RANDOM.random(N)), "leak alone predicts y"),
    ],
)
def test_a_column_that_gives_the_class_away_is_named(leak: Any, told: str) -> None:
    outcome = found(
        {"x": X, "leak": leak, "id": np.arange(N), "key": [f"k{at}" for at in range(N)], "y": CLASSES},
        "leakage",
        target="y",
    )
    assert not outcome.passed
    assert told in outcome.message
    assert outcome.facts["leaking"] == ["leak"]


def test_a_column_that_gives_a_quantity_away_is_named() -> None:
    y = RANDOM.lognormal(size=N)
    outcome = found(
        {"scaled": 3 * y + 1, "same": y.astype(np.float64), "noisy": y + RANDOM.normal(size=N), "y": y},
        "leakage",
        target="y",
    )
    assert outcome.facts["leaking"] == ["scaled", "same"]


def test_ids_and_columns_that_help_give_nothing_away() -> None:
    table = {"x": X, "id": np.arange(N), "key": [f"k{at}" for at in range(N)], "one": np.ones(N), "y": CLASSES}
    assert found(table, "leakage", target="y").passed


def test_classes_without_rows_are_named() -> None:
    listed = pa.DictionaryArray.from_arrays([0, 0, 1, 1, 1], ["a", "b", "never"])
    assert found({"y": listed}, "classes", target="y").message == "never has no rows; at least 2 expected"
    assert found({"y": ["a", "a", "b", "b"]}, "classes", pa.table({"y": ["c"]}), target="y").message.startswith(
        "c has no"
    )
    assert found({"y": ["a", "a", "b"]}, "classes", target="y").message == "b has 1 rows; at least 2 expected"
    assert found({"y": ["a", "a"]}, "classes", target="y").message == "y has 1 classes, expected two or more"
    assert found({"y": [0, 0, 1, 1]}, "classes", target="y", known=[0, 1]).passed
