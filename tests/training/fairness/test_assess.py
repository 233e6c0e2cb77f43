"""Fairness: measures by their definitions, intervals, limits that are kept or not, groups that are too small."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shoal_training.errors import DataError
from shoal_training.evaluation.slicing import SlicedColumn
from shoal_training.fairness.assess import Fairness, FairnessResult, assess
from shoal_training.fairness.measures import MEASURES, group_rates, measure

LABELS = ("no", "yes")


def rows_of(seed: int, shares: dict[str, tuple[int, float, float]]) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Rows of groups: how many, the share whose label is yes, and the share that is told yes whatever the label."""
    random = np.random.default_rng(seed)
    names = np.concatenate([[name] * count for name, (count, _, _) in shares.items()])
    truth = np.concatenate([(np.arange(count) < share * count) for count, share, _ in shares.values()]).astype(np.int64)
    said = np.concatenate([random.random(count) < told for count, _, told in shares.values()])
    return pa.table({"sex": names}), truth, np.stack([1.0 - said, said], axis=1).astype(np.float32)


def asked(**fields: object) -> Fairness:
    return Fairness.model_validate({"protected": ["sex"], **fields})


def values(found: FairnessResult) -> dict[str, float]:
    return {one.measure: one.value for one in found.figures}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), groups=st.integers(2, 4), rows=st.integers(40, 120))
def test_measures_are_what_their_definitions_say(seed: int, groups: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    is_favourable, is_chosen = random.random(rows) < 0.5, random.random(rows) < 0.4
    group = random.integers(groups, size=rows)
    masks = np.array([group == one for one in range(groups)])
    chosen = [is_chosen[mask].mean() for mask in masks if mask.any()]
    odds = []
    for side in (is_favourable, ~is_favourable):
        rates = [is_chosen[mask & side].mean() for mask in masks if (mask & side).any()]
        odds.append(max(rates) - min(rates))
    expected = {
        "demographic_parity_difference": max(chosen) - min(chosen),
        "demographic_parity_ratio": min(chosen) / max(chosen) if max(chosen) else 1.0,
        "equalised_odds_difference": max(odds),
    }
    found = group_rates(is_favourable, is_chosen, masks, np.ones((1, rows)))
    for name in MEASURES:
        assert measure(name, found)[0] == pytest.approx(expected[name])


def test_a_model_that_favours_a_group_is_found_out_with_an_interval() -> None:
    table, truth, scores = rows_of(1, {"a": (400, 0.5, 0.7), "b": (400, 0.5, 0.4)})
    found = assess(asked(), table, truth, scores, LABELS, seed=2)
    assert values(found)["demographic_parity_difference"] == pytest.approx(0.3, abs=0.08)
    for one in found.figures:
        assert one.low is not None
        assert one.high is not None
        assert one.low < one.value < one.high
        assert one.is_within
    assert [(one.name, one.rows) for one in found.groups] == [("sex=a", 400), ("sex=b", 400)]


def test_a_limit_is_at_most_of_a_difference_and_at_least_of_a_ratio() -> None:
    table, truth, scores = rows_of(1, {"a": (400, 0.5, 0.7), "b": (400, 0.5, 0.4)})
    limits = {"demographic_parity_difference": 0.1, "demographic_parity_ratio": 0.8, "equalised_odds_difference": 0.9}
    found = assess(asked(limits=limits), table, truth, scores, LABELS)
    assert {one.measure: one.is_within for one in found.figures} == {
        "demographic_parity_difference": False,
        "demographic_parity_ratio": False,
        "equalised_odds_difference": True,
    }
    first, second = found.failures()
    assert "at most 0.1 expected" in first
    assert "at least 0.8 expected" in second


def test_a_group_that_is_too_small_is_left_out_and_named() -> None:
    table, truth, scores = rows_of(1, {"a": (100, 0.5, 0.5), "b": (100, 0.5, 0.5), "c": (5, 0.5, 0.0)})
    found = assess(asked(), table, truth, scores, LABELS)
    assert found.notes == ("sex=c: fewer than 30 rows, left out of the measures",)
    assert values(found)["demographic_parity_difference"] < 0.2
    assert [one.is_left_out for one in found.groups] == [False, False, True]
    everybody = assess(asked(min_rows=1), table, truth, scores, LABELS)
    assert values(everybody)["demographic_parity_difference"] > 0.4


def test_limits_that_can_not_be_told_end_the_run_rather_than_pass() -> None:
    table, truth, scores = rows_of(1, {"a": (100, 0.5, 0.5), "b": (5, 0.5, 0.5)})
    limits = {"demographic_parity_difference": 0.9}
    with pytest.raises(DataError, match="1 groups have 30 rows or more, and 2 are needed"):
        assess(asked(limits=limits), table, truth, scores, LABELS)
    assert assess(asked(), table, truth, scores, LABELS).figures == ()


def test_one_value_stands_beside_all_others_and_ranges_are_groups() -> None:
    table = pa.table({"age": np.arange(100)})
    truth, scores = np.zeros(100, dtype=np.int64), np.tile(np.array([[0.9, 0.1]], dtype=np.float32), (100, 1))
    one = assess(asked(protected=[{"column": "age", "equals": 5}], min_rows=1), table, truth, scores, LABELS)
    assert [group.name for group in one.groups] == ["age=5", "age!=5"]
    ranges = asked(protected=[SlicedColumn(column="age", bounds=(50,))])
    found = assess(ranges, table, truth, scores, LABELS)
    assert [group.rows for group in found.groups] == [51, 49]
    assert values(found) == {
        "demographic_parity_difference": 0.0,
        "demographic_parity_ratio": 1.0,
        "equalised_odds_difference": 0.0,
    }


def test_the_favourable_label_has_to_be_known() -> None:
    table, truth, scores = rows_of(1, {"a": (50, 0.5, 0.5), "b": (50, 0.5, 0.5)})
    with pytest.raises(DataError, match="the favourable label is 'maybe', expected one of no, yes"):
        assess(asked(favourable="maybe"), table, truth, scores, LABELS)
    with pytest.raises(DataError, match="expected one of a, b, c"):
        assess(asked(), table, truth, np.zeros((100, 3)), ("a", "b", "c"))
    assert assess(asked(favourable="no"), table, truth, scores, LABELS).favourable == "no"
    with pytest.raises(ValidationError, match="limits"):
        asked(limits={"parity": 0.1})
