"""MMD from sums of random features: against the kernel's own, and against samples whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_numerics import DriftError, FeatureSums, feature_mmd

SIZE = 8


def fourier(values: np.ndarray, features: int, seed: int = 0) -> np.ndarray:
    """Random Fourier features of a Gaussian kernel of width √8: k(x, y) = exp(-|x - y|² / 16)."""
    random = np.random.default_rng(seed)
    frequencies = random.standard_normal((values.shape[1], features)) / np.sqrt(SIZE)
    return np.sqrt(2 / features) * np.cos(values @ frequencies + random.uniform(0, 2 * np.pi, features))


def kernel_sum(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    squares = ((one[:, np.newaxis] - other[np.newaxis]) ** 2).sum(axis=2)
    return np.exp(-squares / (2 * SIZE))


def test_it_is_the_kernels_unbiased_estimate_within_the_features_error() -> None:
    random = np.random.default_rng(1)
    first, second = random.standard_normal((300, SIZE)), random.standard_normal((200, SIZE)) + 0.4
    within = [(kernel_sum(one, one).sum() - len(one)) / len(one) / (len(one) - 1) for one in (first, second)]
    exact = sum(within) - 2 * kernel_sum(first, second).mean()
    found = feature_mmd(*(FeatureSums.of(fourier(values, 20_000)) for values in (first, second)))
    assert found.distance_squared == pytest.approx(exact, rel=0.05)


@given(st.integers(2, 60), st.integers(2, 60), st.integers(0, 999))
def test_sums_merge_to_those_of_the_whole(n: int, m: int, seed: int) -> None:
    features = fourier(np.random.default_rng(seed).standard_normal((n + m, SIZE)), 16)
    merged = FeatureSums.of(features[:n]).merge(FeatureSums.of(features[n:]))
    whole = FeatureSums.of(features)
    assert merged.count == whole.count
    assert merged.total == pytest.approx(whole.total)
    assert merged.mean_variance == pytest.approx(features.var(axis=0, ddof=1) / (n + m), abs=1e-12)


def stable(correlated: bool, rounds: int = 1000) -> list[tuple[float, float]]:
    random, found = np.random.default_rng(7), []
    for _ in range(rounds):
        sums = []
        for n in (600, 150):
            features = random.standard_normal((n, 12))
            sums.append(FeatureSums.of(np.repeat(features[:, :1], 12, axis=1) if correlated else features))
        result = feature_mmd(*sums)
        found.append((result.p_value, result.uncorrelated_p_value))
    return found


def test_without_correlation_the_sharper_p_value_is_as_often_below_a_level_as_it_says() -> None:
    safe, sharper = np.array(stable(correlated=False)).T
    assert 0.03 <= (sharper < 0.05).mean() <= 0.07
    assert (safe < 0.05).mean() <= 0.01


def test_whatever_the_correlation_the_p_value_holds_and_the_sharper_one_does_not() -> None:
    safe, sharper = np.array(stable(correlated=True)).T
    assert 0.03 <= (safe < 0.05).mean() <= 0.07
    assert (sharper < 0.05).mean() > 0.1


def test_a_change_of_shape_that_moves_no_mean_is_seen() -> None:
    random = np.random.default_rng(4)
    first = FeatureSums.of(fourier(random.standard_normal((5000, SIZE)), 128))
    second = FeatureSums.of(fourier(random.choice([-1.0, 1.0], (1000, SIZE)), 128))
    wider = FeatureSums.of(fourier(1.4 * random.standard_normal((1000, SIZE)), 128))
    assert feature_mmd(first, wider).p_value < 1e-6
    assert feature_mmd(first, wider).distance_squared > 5 * feature_mmd(first, wider).standard_error
    assert feature_mmd(first, second).distance_squared > 0


def test_the_standard_error_is_the_spread_of_repeated_samples() -> None:
    random = np.random.default_rng(9)
    results = []
    for _ in range(800):
        first, second = random.standard_normal((400, 10)), random.standard_normal((100, 10)) + 0.1
        results.append(feature_mmd(FeatureSums.of(first), FeatureSums.of(second)))
    spread = np.std([result.distance_squared for result in results])
    assert np.mean([result.standard_error for result in results]) == pytest.approx(spread, rel=0.2)
    assert np.mean([result.distance_squared for result in results]) == pytest.approx(10 * 0.1**2, rel=0.1)


def test_constants_are_the_same_or_they_are_not() -> None:
    one, other = FeatureSums.of(np.full((5, 3), 2.0)), FeatureSums.of(np.full((9, 3), 1.0))
    assert feature_mmd(one, one).p_value == 1.0
    assert feature_mmd(one, other).p_value == 0.0
    assert feature_mmd(one, other).distance_squared == 3.0


def test_sums_that_no_sample_has_are_refused() -> None:
    one = FeatureSums.of(np.ones((5, 3)))
    for count, total, squares in ((5, [5.0], [4.0]), (1, [1.0], [1.0]), (5, [5.0], [np.nan]), (5, [5.0], [5.0, 5.0])):
        with pytest.raises(DriftError, match="Reading feature sums"):
            FeatureSums(count, np.array(total), np.array(squares))
    other = FeatureSums.of(np.ones((5, 4)))
    with pytest.raises(DriftError, match="Comparing feature sums"):
        feature_mmd(one, other)
    with pytest.raises(DriftError, match="Merging feature sums"):
        one.merge(other)
