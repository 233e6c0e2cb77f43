"""Schemes: which rows are held out, no entity or time on both sides, and clear errors where rows do not suffice."""

from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shoal_training.errors import DataError
from shoal_training.evaluation.schemes import AnyScheme, Fold, Scheme, checked_folds, inner_scheme

SCHEME: TypeAdapter[Scheme] = TypeAdapter(AnyScheme)
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def scheme(**fields: object) -> Scheme:
    return SCHEME.validate_python(fields)


def table_of(rows: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    minutes = random.integers(0, rows, rows)
    return pa.table(
        {
            "at": [START + timedelta(minutes=int(one)) for one in minutes],
            "device": [f"d{one}" for one in random.integers(0, 7, rows)],
            "y": random.integers(0, 3, rows),
        }
    )


def once(folds: tuple[Fold, ...], rows: int) -> None:
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(rows))
    for fold in folds:
        assert not set(fold.train) & set(fold.test)


def test_k_folds_hold_each_row_out_once_with_as_many_of_each_class() -> None:
    table = table_of(300)
    folds = scheme(scheme="k_fold", folds=5).folds(table, "y", 1)
    once(folds, 300)
    y = table["y"].to_numpy()
    counts = np.array([np.bincount(y[fold.test], minlength=3) for fold in folds])
    assert (np.ptp(counts, axis=0) <= 1).all()
    once(scheme(scheme="k_fold", folds=4, is_stratified=False).folds(table, "y", 1), 300)
    once(scheme(scheme="k_fold", folds=4).folds(table, None, 1), 300)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), folds=st.integers(1, 4), has_classes=st.booleans())
def test_no_entity_is_on_both_sides(seed: int, folds: int, *, has_classes: bool) -> None:
    table = table_of(120, seed)
    found = scheme(scheme="group", column="device", folds=folds).folds(table, "y" if has_classes else None, seed)
    assert len(found) == folds
    devices = np.array(table["device"].to_pylist())
    for fold in found:
        assert not set(devices[fold.train]) & set(devices[fold.test])
        assert len(fold.train) + len(fold.test) == 120
    if folds > 1:
        once(found, 120)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), folds=st.integers(1, 4), gap_s=st.sampled_from([0, 60, 600]))
def test_what_is_learned_from_lies_before_the_gap_and_the_gap_before_what_is_measured(
    seed: int, folds: int, gap_s: int
) -> None:
    table = table_of(400, seed)
    found = scheme(scheme="temporal", column="at", test_ratio=0.15, folds=folds, gap_s=gap_s).folds(table, None, 0)
    times = np.array([one.timestamp() for one in table["at"].to_pylist()])
    assert max(times[found[0].test]) == max(times), "the first fold, whose model is kept, has seen the most"
    for fold in found:
        latest, first = max(times[fold.train]), min(times[fold.test])
        assert latest < first
        assert first - latest >= gap_s
    for newer, older in pairwise(found):
        assert max(times[older.test]) < min(times[newer.test]), "windows do not overlap"
        assert len(older.train) < len(newer.train), "they expand"


def test_dates_and_numbers_are_times_as_well() -> None:
    days = pa.table({"day": [date(2026, 1, 1) + timedelta(days=one) for one in range(10)]})
    [fold] = scheme(scheme="temporal", column="day", gap_s=86_400).folds(days, None, 0)
    assert (fold.train.tolist(), fold.test.tolist()) == ([*range(8)], [8, 9]), "a day lies between them as it is"
    [fold] = scheme(scheme="temporal", column="day", gap_s=86_401).folds(days, None, 0)
    assert fold.train.tolist() == [*range(7)]
    ticks = pa.table({"tick": [3, 1, 2, 5, 4]})
    [fold] = scheme(scheme="temporal", column="tick").folds(ticks, None, 0)
    assert fold.test.tolist() == [3]


def test_a_file_says_what_is_left_out(tmp_path: Path) -> None:
    table = pa.table({"id": [10, 11, 12, 13], "at": [1.0, 2.0, 3.0, 4.0]})
    (tmp_path / "held.csv").write_text("name,id\nx,12\ny,13\n")
    given_ids = scheme(scheme="leave_out", path="held.csv", column="id", time="at")
    [fold] = given_ids.folds(table, None, 0, tmp_path)
    assert (fold.train.tolist(), fold.test.tolist()) == ([0, 1], [2, 3])
    before = given_ids.decided_by(tmp_path)
    (tmp_path / "held.csv").write_text("11\n")
    assert given_ids.decided_by(tmp_path) != before, "the file decides the parts"
    with pytest.raises(DataError, match=r"2 of 3 rows that are learned from come at or after .* time travel"):
        given_ids.folds(table, None, 0, tmp_path)
    (tmp_path / "held.csv").write_text("10\n99\n")
    with pytest.raises(DataError, match="1 of 2 values are no row's id, such as 99"):
        given_ids.folds(table, None, 0, tmp_path)
    (tmp_path / "held.csv").write_text("10\n11\n12\n13\n")
    with pytest.raises(DataError, match="names all 4 rows"):
        given_ids.folds(table, None, 0, tmp_path)
    (tmp_path / "held.csv").write_text("\n")
    with pytest.raises(DataError, match="it names nothing"):
        given_ids.folds(table, None, 0, tmp_path)
    with pytest.raises(DataError, match="name a file of text"):
        given_ids.folds(table, None, 0, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("fields", "columns", "expected"),
    [
        ({"scheme": "k_fold"}, {"y": [0, 1, 0]}, "5 folds: 3 rows found"),
        ({"scheme": "k_fold", "folds": 3}, {"y": [0, 0, 0, 1, 1, 0]}, r"fewer rows have the class 1 \(2\)"),
        ({"scheme": "holdout"}, {"y": [0]}, "1 rows found, expected 2 or more"),
        (
            {"scheme": "temporal", "column": "t"},
            {"t": [1, 2, 3, 4, 5], "y": [0, 0, 0, 0, 1]},
            "the class 1 of y is held out and has no row",
        ),
        ({"scheme": "group", "column": "g"}, {"g": ["a"] * 4, "y": [0, 1, 0, 1]}, "has 1 of them, expected 2"),
        ({"scheme": "group", "column": "g"}, {"g": ["a", None], "y": [0, 0]}, "1 rows have no g"),
        ({"scheme": "group", "column": "h"}, {"g": ["a", "b"], "y": [0, 0]}, "no column h; the table has g, y"),
        ({"scheme": "temporal", "column": "t"}, {"t": [1, 1, 1], "y": [0, 0, 0]}, "all 3 rows have the same t"),
        ({"scheme": "temporal", "column": "t"}, {"t": [1, None], "y": [0, 0]}, "1 rows have no t"),
        ({"scheme": "temporal", "column": "t"}, {"t": ["x", "z"], "y": [0, 0]}, "is string, expected times"),
        (
            {"scheme": "temporal", "column": "t", "gap_s": 99},
            {"t": [1, 2, 3, 4, 5], "y": [0] * 5},
            "0 rows lie before the gap of 99 s",
        ),
        (
            {"scheme": "temporal", "column": "t", "folds": 5},
            {"t": [1, 2, 3, 4, 5], "y": [0] * 5},
            "leave nothing to learn from",
        ),
    ],
)
def test_what_can_not_be_parted_is_said(
    fields: dict[str, object], columns: dict[str, list[object]], expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        checked_folds(scheme(**fields), pa.table(columns), "y", 0)


def test_a_share_leaves_a_row_of_each_class_to_learn_from() -> None:
    table = pa.table({"y": [0, 0, 0, 0, 1]})
    [fold] = checked_folds(scheme(scheme="holdout", test_ratio=0.9), table, "y", 0)
    assert set(table["y"].to_numpy()[fold.train]) == {0, 1}


def test_an_unknown_scheme_is_told_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="no scheme is called 'kfold'; did you mean k_fold"):
        scheme(scheme="kfold")


def test_a_search_parts_its_rows_as_the_pipeline_does() -> None:
    assert inner_scheme(scheme(scheme="group", column="g", folds=4), 0.3) == scheme(
        scheme="group", column="g", test_ratio=0.3
    )
    assert inner_scheme(scheme(scheme="temporal", column="t", gap_s=5), 0.3) == scheme(
        scheme="temporal", column="t", test_ratio=0.3, gap_s=5
    )
    assert inner_scheme(scheme(scheme="k_fold"), 0.3) == scheme(scheme="holdout", test_ratio=0.3)
