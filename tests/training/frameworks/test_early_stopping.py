"""What is watched is a fair part of the rows, and an end comes once they say no better."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_training.errors import DataError
from shoal_training.frameworks.early_stopping import EarlyStopping, Watch, parted
from shoal_training.frameworks.trainer import Samples


def samples(counts: list[int]) -> Samples:
    y = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return Samples(np.arange(len(y), dtype=np.float32).reshape(-1, 1), y, np.ones(len(y), dtype=np.float32))


@given(st.lists(st.integers(10, 60), min_size=2, max_size=4), st.integers(0, 9))
def test_each_row_is_either_learned_from_or_watched_and_classes_keep_their_share(counts: list[int], seed: int) -> None:
    learned, watched = parted(samples(counts), EarlyStopping(watched_ratio=0.2), seed)
    assert sorted([*learned.x[:, 0], *watched.x[:, 0]]) == list(range(sum(counts)))
    assert watched.y is not None
    np.testing.assert_array_equal(np.bincount(watched.y, minlength=len(counts)), [round(one * 0.2) for one in counts])
    again = parted(samples(counts), EarlyStopping(watched_ratio=0.2), seed)
    np.testing.assert_array_equal(again[1].x, watched.x)


def test_too_few_rows_to_watch_some_of_them_are_refused() -> None:
    with pytest.raises(DataError, match="3 rows are too few to watch 10% of them"):
        parted(samples([2, 1]), EarlyStopping(), 0)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_the_best_is_the_first_smallest_loss(losses: list[float]) -> None:
    watch = Watch()
    for at, loss in enumerate(losses, 1):
        watch = watch.after(at, loss, EarlyStopping())
    assert (watch.best, watch.best_at) == (min(losses), losses.index(min(losses)) + 1)
    assert watch.waited == len(losses) - watch.best_at


def test_a_change_too_small_to_count_is_none_and_accuracy_rises() -> None:
    watch = Watch().after(1, 0.5, EarlyStopping(metric="accuracy", least_change=0.1))
    assert watch.after(2, 0.55, EarlyStopping(metric="accuracy", least_change=0.1)).waited == 1
    assert watch.after(2, 0.65, EarlyStopping(metric="accuracy", least_change=0.1)).best_at == 2
