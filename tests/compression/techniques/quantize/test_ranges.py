"""The ranges that calibration finds, on counts whose best range is known."""

import numpy as np

from shoal_compression.techniques.quantize.ranges import BINS, Seen, by_entropy, by_mse, by_percentile


def seen(values: np.ndarray) -> Seen:
    low, high = float(values.min()), float(values.max())
    return Seen(low, high, np.histogram(values, BINS, (low, high))[0].astype(float))


RANDOM = np.random.default_rng(0)
NORMAL = RANDOM.normal(0, 1, 100_000)
WITH_OUTLIER = np.append(NORMAL, 60.0)


def test_a_percentile_leaves_out_the_ends() -> None:
    low, high = by_percentile(seen(WITH_OUTLIER), 99.0)
    assert -2.8 < low < -2.4
    assert 2.4 < high < 2.8


def test_an_outlier_does_not_widen_a_range_of_least_error() -> None:
    low, high = by_mse(seen(np.append(NORMAL, 12.0)))
    assert low < -3
    assert high < 11


def test_least_error_keeps_a_uniform_range_whole() -> None:
    uniform = RANDOM.uniform(-1, 1, 100_000)
    low, high = by_mse(seen(uniform))
    assert low < -0.97
    assert high > 0.97


def test_entropy_cuts_a_far_outlier_off() -> None:
    _, high = by_entropy(seen(WITH_OUTLIER))
    assert high < 30


def test_an_end_at_zero_stays_there() -> None:
    positive = np.abs(NORMAL)
    for find in (by_mse, by_entropy):
        assert find(seen(positive))[0] == 0
