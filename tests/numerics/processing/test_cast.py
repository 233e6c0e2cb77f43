"""Numbers become a type as its range allows, halves to even."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shoal_numerics.processing.cast import cast

WHOLE = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


@given(
    arrays.arrays(np.float64, st.integers(0, 6), elements=st.floats(allow_nan=False, allow_infinity=False)),
    st.sampled_from(WHOLE),
)
def test_whole_numbers_are_rounded_and_keep_to_their_range(values: np.ndarray, kind: type) -> None:
    bounds = np.iinfo(kind)
    plain = [min(max(round(float(value)), int(bounds.min)), int(bounds.max)) for value in values]
    assert cast(values, np.dtype(kind)).tolist() == plain


def test_halves_go_to_even() -> None:
    assert cast(np.array([0.5, 1.5, 2.5, -0.5, -1.5]), np.dtype(np.int8)).tolist() == [0, 2, 2, 0, -2]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_fractions_take_the_nearest_value_and_infinity_beyond(kind: type) -> None:
    values = np.array([0.1, 1e300, -1e300])
    with np.errstate(over="ignore"):
        assert np.array_equal(cast(values, np.dtype(kind)), values.astype(kind))
