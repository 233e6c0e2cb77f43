"""The ranges that calibration finds, on counts whose best range is known."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from tests.compression.techniques.quantize.nets import graph
from tests.compression.zoo import spec

from shoal_compression.data import Samples
from shoal_compression.model import Model
from shoal_compression.techniques.quantize.ranges import (
    BINS,
    Seen,
    by_entropy,
    by_mse,
    by_percentile,
    find_ranges,
    too_coarse,
    with_values,
)


def seen(values: np.ndarray) -> Seen:
    return with_values(Seen(float(values.min()), float(values.max()), np.zeros(BINS)), values)


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


FAR = np.append(RANDOM.uniform(0, 0.45, 100_000), [-500.0, 500.0]).astype(np.float32)


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=300).filter(lambda one: min(one) < max(one)),
    st.floats(50.1, 99.999),
)
def test_a_percentile_keeps_its_share_and_is_less_than_a_bin_too_wide_at_either_end(
    values: list[float], percentile: float
) -> None:
    array = np.array(values, np.float32)
    first = seen(array)
    ends = too_coarse(first, percentile)
    for one in (first, *([] if ends is None else [with_values(Seen(*ends, np.zeros(BINS)), array)])):
        low, high = by_percentile(one, percentile)
        rest = (1 - percentile / 100) / 2 * len(array)
        assert (array < low).sum() <= rest
        assert (array > high).sum() <= rest
        bin_width = (one.high - one.low) / BINS * (1 + 1e-9)
        assert low == one.low or (array <= low + bin_width).sum() > rest
        assert high == one.high or (array >= high - bin_width).sum() > rest


def test_outliers_far_away_leave_the_range_of_all_others() -> None:
    model = Model("onnx", _identity(), (spec("x", -1, 1),), (spec("y", -1, 1),))
    samples = Samples({"x": FAR.reshape(-1, 1)})
    proto = onnx.load_from_string(model.content)
    low, high = find_ranges(proto, model, samples, "percentile", 99.9, 1)["y"]
    assert low == pytest.approx(0, abs=0.001)
    assert high == pytest.approx(0.45, abs=0.001)
    assert np.mean((low > FAR) | (high < FAR)) <= 0.001


def _identity() -> bytes:
    return graph([helper.make_node("Identity", ["x"], ["y"])], {}, (["n", 1], ["n", 1]))
