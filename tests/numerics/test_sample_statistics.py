"""The statistics of large samples are those of numpy, sample by sample and input by input."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal_numerics import STATISTICS, sample_statistics


@given(seed=st.integers(0, 2**32), n=st.integers(1, 4), scale=st.floats(0.01, 100), shift=st.floats(-5, 5))
def test_they_are_numpys(seed: int, n: int, scale: float, shift: float) -> None:
    chance = np.random.default_rng(seed)
    image = (scale * (chance.normal(size=(n, 3, 16, 16)) + shift)).astype(np.float32)
    audio = chance.integers(-30_000, 30_000, size=(n, 512)).astype(np.int16)
    found = sample_statistics([image, audio])
    assert found.shape == (n, 2 * len(STATISTICS))
    arrays: list[NDArray[Any]] = [image, audio]
    for place, array in enumerate(arrays):
        rows = array.reshape(n, -1).astype(np.float64)
        expected = np.stack([rows.mean(axis=1), rows.std(axis=1), rows.min(axis=1), rows.max(axis=1)], axis=1)
        tolerance = 2e-3 * np.abs(expected[:, 1:2])
        assert (np.abs(found[:, 4 * place : 4 * place + 4] - expected) <= tolerance + 1e-6).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_stays_none_and_warns_nobody(value: float) -> None:
    found = sample_statistics([np.array([[1.0, value], [1.0, 3.0]], dtype=np.float32)])
    assert not np.isfinite(found[0, 0])
    np.testing.assert_allclose(found[1], [2, 1, 1, 3])


def test_a_constant_sample_has_no_deviation() -> None:
    assert sample_statistics([np.full((1, 1000), 0.1, np.float32)])[0, 1] < 1e-4
