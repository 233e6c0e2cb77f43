"""Intervals: they hold the truth as often as they say, are the same for the same seed, and shrink with rows."""

import numpy as np
import pytest

from shoal_training.evaluation.intervals import interval_of, intervals, resamples_of, weights_of
from shoal_training.evaluation.metrics import metrics_of

ACCURACY = [one for one in metrics_of("classification") if one.name == "accuracy"]


def drawn(seed: int, rows: int, share: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    is_right = np.random.default_rng(seed).random(rows) < share
    return np.ones(rows, dtype=np.int64), np.stack([1.0 - is_right, is_right], axis=1).astype(np.float32)


def test_nineteen_of_twenty_intervals_hold_the_true_value() -> None:
    held = 0
    for seed in range(200):
        found = intervals(ACCURACY, *drawn(seed, 200), seed=seed, resamples=200)["accuracy"]
        held += found.low <= 0.8 <= found.high
    assert 180 <= held <= 198, "95 % of 200, within what chance allows"


def test_the_same_seed_gives_the_same_interval_and_more_rows_a_narrower_one() -> None:
    few, many = drawn(1, 127), drawn(1, 12_700)
    first = intervals(ACCURACY, *few, seed=5)["accuracy"]
    assert first == intervals(ACCURACY, *few, seed=5)["accuracy"]
    assert any(first != intervals(ACCURACY, *few, seed=seed)["accuracy"] for seed in range(6, 16))
    wide, narrow = first.high - first.low, np.diff(intervals(ACCURACY, *many, seed=5)["accuracy"])[0]
    assert wide == pytest.approx(10 * narrow, rel=0.3)


def test_each_resample_has_as_many_rows_and_no_two_blocks_the_same() -> None:
    blocks = list(weights_of(3_000_000, 5, seed=1))
    assert [len(one) for one in blocks] == [2, 2, 1]
    assert all((one.sum(axis=1) == 3_000_000).all() for one in blocks)
    assert not (blocks[0][0] == blocks[1][0]).all()


def test_of_many_rows_fewer_resamples_are_drawn() -> None:
    assert [resamples_of(rows) for rows in (1, 1000, 1_000_000, 10**9)] == [1000, 1000, 100, 100]
    assert resamples_of(10**9, 10) == 10


def test_a_figure_that_is_seldom_defined_has_no_interval() -> None:
    assert interval_of(np.array([np.nan] * 20 + [1.0] * 80)) is None
    assert interval_of(np.array([])) is None
    assert interval_of(np.array([np.nan] * 5 + [1.0] * 95)) == (1.0, 1.0)
