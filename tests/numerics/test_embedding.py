"""Embeddings are the same wherever they are made, their sums merge exactly, and alike samples have alike means."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from shoal_contract.embedding import EMBEDDING_FEATURES, EMBEDDING_ONE, EmbeddingSums
from shoal_numerics import Embedding, EmbeddingError, merge_sums
from shoal_numerics.embedding import MAX_VALUES, PROJECTED

EMBEDDING = Embedding(seed=7, scale=1.0)
PINNED = (-30070, -1873, 31674, 7034, 17106, -1724)
any_rows = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 20), st.just(12)),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)


def samples(count: int, values: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, values)).astype(np.float32)


def test_features_are_pinned_as_devices_in_the_field_make_them() -> None:
    found = EMBEDDING.features(np.arange(40, dtype=np.float32)[np.newaxis] / 10)[0]
    assert np.abs(found[:6] - np.array(PINNED)).max() <= 1, found[:6].tolist()
    assert found.shape == (EMBEDDING_FEATURES,)


@given(any_rows)
def test_whatever_comes_is_embedded_within_bounds(rows: NDArray[np.float32]) -> None:
    found = EMBEDDING.features(rows)
    assert np.abs(found).max() <= EMBEDDING_ONE
    assert EMBEDDING.sums(rows).misfit(EMBEDDING_FEATURES) == ""
    assert min(EMBEDDING.sums(rows).variance) >= 0


@given(any_rows, st.lists(st.integers(0, 20), max_size=4), st.randoms(use_true_random=False))
def test_sums_of_parts_in_any_order_are_those_of_the_whole(
    rows: NDArray[np.float32], cuts: list[int], random: object
) -> None:
    parts = [EMBEDDING.sums(part) for part in np.split(rows, sorted(cuts))]
    random.shuffle(parts)  # type: ignore[attr-defined]
    assert reduce(merge_sums, parts) == EMBEDDING.sums(rows)


def test_the_mean_product_of_features_is_the_gaussian_kernel_of_the_projections() -> None:
    rows = samples(400, 96)
    first = np.mean([_products(Embedding(seed, 2.0), rows) for seed in range(40)], axis=0)
    gaps = np.array([np.square(np.subtract(*Embedding(s, 2.0).project(rows[:2]))).sum() for s in range(40)])
    assert abs(2 * first - np.exp(-gaps / (2 * 2.0**2)).mean()) < 0.03


def _products(embedding: Embedding, rows: NDArray[np.float32]) -> float:
    one, other = embedding.features(rows[:2]) / EMBEDDING_ONE
    return float((one * other).mean())


def test_projecting_keeps_distances_on_average() -> None:
    rows = samples(2, 3000)
    expected = np.square(rows[0] - rows[1]).sum() / 3000
    found = [np.square(np.subtract(*Embedding(seed, 1.0).project(rows))).sum() for seed in range(200)]
    assert np.mean(found) == pytest.approx(expected, rel=0.1)


def test_another_source_has_another_mean_and_the_same_one_has_not() -> None:
    embedding = Embedding.fitted(samples(500, 784), seed=3)
    reference, same, other = (
        embedding.sums(rows) for rows in (samples(500, 784), samples(500, 784, 1), samples(500, 784, 2) * 1.5)
    )
    assert _distance(reference, same) < 0.3
    assert _distance(reference, other) > 0.5


def _distance(one: EmbeddingSums, other: EmbeddingSums) -> float:
    return sum((left - right) ** 2 for left, right in zip(one.mean, other.mean, strict=True))


def test_of_a_large_sample_a_part_is_looked_at_and_no_more_signs_are_kept() -> None:
    embedding = Embedding(1, 1.0)
    rows = samples(1, 2 * MAX_VALUES + 5)
    embedding.features(rows)
    assert embedding._signs[0].nbytes <= 4 * (MAX_VALUES + PROJECTED)
    changed = rows.copy()
    changed[0, 1] = 1e6
    np.testing.assert_array_equal(embedding.features(rows), embedding.features(changed))


def test_samples_of_other_sizes_have_the_same_signs_whichever_came_first() -> None:
    rows = samples(3, 700)
    late = Embedding(5, 1.0)
    late.features(samples(1, 5000))
    np.testing.assert_array_equal(late.features(rows), Embedding(5, 1.0).features(rows))


@pytest.mark.parametrize("value", [3e38, np.inf, -np.inf, np.nan])
def test_values_whose_sums_overflow_are_embedded_without_a_warning(value: float) -> None:
    rows = np.full((3, 4000), value, dtype=np.float32)
    rows[1, ::2] = -3e38
    embedding = Embedding.fitted(rows, 5)
    assert embedding.sums(rows).misfit(EMBEDDING_FEATURES) == ""


def test_constant_samples_have_a_scale_all_the_same() -> None:
    assert Embedding.fitted(np.ones((5, 8), dtype=np.float32), 1).scale == 1.0


def test_moments_of_the_sums_are_those_of_the_features() -> None:
    rows = samples(50, 12)
    found, features = EMBEDDING.sums(rows), EMBEDDING.features(rows) / EMBEDDING_ONE
    np.testing.assert_allclose(found.mean, features.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.variance, features.var(axis=0), atol=1e-12)
    assert set(EmbeddingSums(samples=0, sums=(0,), squares=(0,)).mean) == {0.0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sums": (0,), "squares": (0,)}, "1 sums found, expected 2"),
        ({"sums": (3 * EMBEDDING_ONE, 0)}, "beyond 2 cosines"),
        ({"squares": (3 * EMBEDDING_ONE**2, 0)}, "beyond 2 cosines"),
        ({"sums": (2 * EMBEDDING_ONE, 0), "squares": (5, 0)}, "too large for squares of 5"),
        ({"samples": 0, "sums": (1, 0), "squares": (1, 0)}, "beyond 0 cosines"),
    ],
)
def test_sums_that_no_samples_can_have_are_told(change: dict[str, object], words: str) -> None:
    whole = {"samples": 2, "sums": (100, 0), "squares": (10_000, 0)}
    assert EmbeddingSums.model_validate(whole).misfit(2) == ""
    assert words in EmbeddingSums.model_validate(whole | change).misfit(2)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(EmbeddingError, match="found 1 and 2 features"):
        merge_sums(
            EmbeddingSums(samples=0, sums=(0,), squares=(0,)), EmbeddingSums(samples=0, sums=(0, 0), squares=(0, 0))
        )
    with pytest.raises(EmbeddingError, match=r"the scale is 0\.0"):
        Embedding(1, 0.0)
