"""Answers beside the first candidate's: on common samples alone, and numbers by their size."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal_agent.benchmarks import measure
from shoal_agent.benchmarks.answers import Answers, agreed_with, kept_answers, paired_with, row_of
from shoal_contract.benchmarks import MAX_POWER


def answers(classes: list[int], right: list[bool] | None, outputs: Any) -> Answers:
    flags = None if right is None else np.array(right)
    return Answers(np.array(classes, np.int64), flags, np.asarray(outputs, np.float32))


def test_a_candidate_that_came_less_far_is_compared_on_what_both_have_answered() -> None:
    first = answers([0, 1, 2, 0], [True, True, False, False], np.ones((4, 2)))
    slow = answers([0, 1], [True, True], np.ones((2, 2)))
    paired = paired_with(first, slow)
    assert (paired.samples, paired.right, paired.first_right) == (2, 2, 2), "it has lost nothing there"
    assert agreed_with(first, slow) == 2
    assert paired_with(slow, first).samples == 2


def test_numbers_differ_by_their_size_and_not_by_their_sign() -> None:
    first = answers([1, 1], None, [[10.0], [20.0]])
    paired = paired_with(first, answers([1, 1], None, [[11.0], [18.0]]))
    assert (paired.signal, paired.noise) == (500.0, 5.0)
    assert (paired.right, paired.first_right) == (None, None)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e200])
def test_sums_stay_finite_and_bounded(value: float) -> None:
    first = Answers(np.zeros(1, np.int64), None, np.array([[1.0]]))
    assert paired_with(first, Answers(np.zeros(1, np.int64), None, np.array([[value]]))).noise == MAX_POWER


def test_outputs_of_another_shape_say_nothing_of_their_size() -> None:
    paired = paired_with(answers([0], None, np.ones((1, 2))), answers([0], None, np.ones((1, 3))))
    assert (paired.signal, paired.noise, paired.samples) == (None, None, 1)


def test_what_the_first_leaves_is_found_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    assert kept_answers(path) is None
    replace(answers([0, 1], [True, False], np.ones((2, 3))), cut=0.5).keep(path)
    found = kept_answers(path)
    assert found is not None
    assert found.cut == 0.5
    assert (found.classes.tolist(), found.right is not None, found.outputs.shape) == ([0, 1], True, (2, 3))
    path.write_bytes(path.read_bytes()[:100])
    assert kept_answers(path) is None


def test_the_floats_of_all_outputs_stand_in_one_row() -> None:
    outputs = {"b": np.ones((4, 2, 3), np.float32), "a": np.zeros((4, 1), np.float32), "n": np.ones((4, 1), np.int64)}
    assert row_of(outputs, is_batched=True).shape == (4, 7)
    assert row_of({"n": np.ones((4, 1), np.int64)}, is_batched=True).shape == (4, 1)
    assert row_of({"a": np.ones(5, np.float32)}, is_batched=False).shape == (1, 5)


def test_of_large_outputs_the_first_samples_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.agent.benchmarks.test_measure import SAMPLES, Slow, Time, wanted, watch_of

    monkeypatch.setattr(measure, "MAX_KEPT_BYTES", 35 * 3 * 4)
    time = Time()
    found = measure.answers_of(Slow(time), wanted(), SAMPLES, watch_of(time))
    assert (len(found), found.outputs.shape) == (40, (35, 3))
