"""Counts of truth that no device can have counted are set aside with the reason, and count nowhere."""

from typing import Any

import numpy as np
import pytest
from sqlmodel import select
from tests.hub.performance.conftest import Answers, Fleet, counts_of, of_numbers, packed

from shoal_contract.performance import CustomMetric, PerformanceCounts, RegressionSums, ValueSums
from shoal_hub.monitoring.performance_check import check_performance
from shoal_hub.monitoring.quarantine import QuarantineError
from shoal_hub.monitoring.tables import QuarantinedWindow, WindowRow
from shoal_numerics.label_counts import LabelCounts
from shoal_numerics.value_sums import regression_of, sums_of

ONE = regression_of([1.0, 5.0, 2.0], [2.0, 2.0, 2.0])


def reasons(one_fleet: Fleet) -> list[str]:
    with one_fleet.hub.database.session() as session:
        assert session.exec(select(WindowRow)).all() == []
        return [row.reason for row in session.exec(select(QuarantinedWindow))]


def _more_classes(counts: LabelCounts) -> None:
    counts.matrix[0, 0] += 1


def _more_scores(counts: LabelCounts) -> None:
    counts.scores[0, 0, 5] += 1


def _positives_of_none(counts: LabelCounts) -> None:
    counts.scores[0] = counts.scores[0, ::-1]


def _surer_than_asked(counts: LabelCounts) -> None:
    counts.confidence[1] = counts.confidence[0, ::-1]


def _more_in_a_slice(counts: LabelCounts) -> None:
    totals = counts.slice_totals(0)
    totals += 200


def _other_classes_in_a_slice(counts: LabelCounts) -> None:
    kinds = counts.slice_kinds(0)
    kinds[1] += 1


def _all_of_a_class_in_a_slice(counts: LabelCounts) -> None:
    kinds, whole = counts.slice_kinds(0), counts.class_counts()
    kinds[0, 0] = whole.true_positives[0] + 1


def test_counts_of_labels_that_do_not_add_up(one_fleet: Fleet) -> None:
    answers = Answers(1)
    lies = (
        _more_classes,
        _more_scores,
        _positives_of_none,
        _surer_than_asked,
        _more_in_a_slice,
        _other_classes_in_a_slice,
        _all_of_a_class_in_a_slice,
    )
    for lie in lies:
        counts = counts_of(one_fleet.baseline, answers)
        lie(counts)
        with pytest.raises(QuarantineError) as caught:
            check_performance(one_fleet.window(answers, performance=packed(counts)), one_fleet.baseline, "here")
        assert caught.value.reason == "does_not_add_up", lie
    check_performance(one_fleet.window(answers), one_fleet.baseline, "here")


def test_more_labels_than_the_window_names(one_fleet: Fleet) -> None:
    answers = Answers(1)
    one_fleet.tell(0, answers, labelled=149, correct=100)
    assert reasons(one_fleet) == ["does_not_add_up"]


def test_counts_that_can_not_be_read_or_are_of_another_kind(one_fleet: Fleet) -> None:
    for data in ("not base64!", "AAAA", "KLUv/SAEIQAAJQEFCA=="):
        one_fleet.tell(0, Answers(1), performance=PerformanceCounts(counts=data))
    for told in (PerformanceCounts(regression=ONE), PerformanceCounts(not_finite=1)):
        one_fleet.tell(0, Answers(1), performance=told)
    assert reasons(one_fleet) == ["unreadable"] * 3 + ["another_baseline"] * 2


def _spread(sums: ValueSums) -> ValueSums:
    return sums.model_copy(update={"squares": 1e6})


def _many(sums: ValueSums) -> ValueSums:
    return sums.model_copy(update={"values": 2**31})


LIES: list[tuple[dict[str, Any], str]] = [
    ({"counts": "KLUv/SAEIQAAJQEFCA=="}, "another_baseline"),
    ({"regression_slices": (ONE, ONE), "regression": ONE}, "another_baseline"),
    ({"regression_slices": (ONE,)}, "does_not_add_up"),
    ({"regression": ONE.model_copy(update={"absolute": 100.0})}, "does_not_add_up"),
    ({"regression": ONE.model_copy(update={"errors": _spread(ONE.errors)})}, "does_not_add_up"),
    ({"regression": ONE, "regression_slices": (regression_of([9.0], [9.0]),)}, "does_not_add_up"),
    ({"regression": ONE, "regression_slices": (regression_of([1.0] * 4, [1.0] * 4),)}, "does_not_add_up"),
    ({"metrics": (CustomMetric(name="m", sums=_spread(sums_of([1.0, 2.0]))),)}, "does_not_add_up"),
    ({"metrics": (CustomMetric(name="m", sums=_many(sums_of([1.0, 2.0]))),)}, "out_of_bounds"),
    (
        {"regression": RegressionSums(errors=_many(ONE.errors), absolute=1e9, truth=_many(ONE.truth))},
        "out_of_bounds",
    ),
    ({"not_finite": 2**31}, "out_of_bounds"),
]


def test_values_that_can_not_be(one_fleet: Fleet) -> None:
    numbers = of_numbers(one_fleet)
    for told, reason in LIES:
        window = numbers.window(Answers(1), labelled=0, correct=0, performance=PerformanceCounts(**told))
        with pytest.raises(QuarantineError) as caught:
            check_performance(window, numbers.baseline, "here")
        assert caught.value.reason == reason, told


def test_sums_that_are_no_numbers_are_no_message() -> None:
    for values in ({"mean": float("nan")}, {"squares": -1.0}, {"most": 1e31}, {"least": 3.0}):
        with pytest.raises(ValueError, match="ValueSums"):
            ValueSums.model_validate(sums_of([1.0, 2.0]).model_dump() | values)
    assert np.isfinite(sums_of([1.0]).mean)
