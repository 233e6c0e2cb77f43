"""Golden tensors that are too large to travel: made alike everywhere, and compared in part."""

import hashlib

import numpy as np
import pytest

from shoal_contract.manifest import Datatype, GeneratedTensor, SampledTensor, TensorData
from shoal_numerics.golden_tensors import GOLDEN_BYTES, generated_array, golden_array, golden_output, golden_part
from shoal_numerics.tensors import NUMPY_TYPES, to_tensor_data


def tensor(datatype: Datatype, low: float = -3.0, high: float = 5.0, seed: int = 7) -> GeneratedTensor:
    return GeneratedTensor(datatype=datatype, shape=(40, 50), seed=seed, low=low, high=high)


@pytest.mark.parametrize(
    ("datatype", "expected"),
    [
        ("FP32", "4af60a99"),
        ("INT64", "34f1f692"),
        ("UINT8", "9f693340"),
    ],
)
def test_the_numbers_are_the_same_on_every_machine_and_in_every_release(datatype: Datatype, expected: str) -> None:
    made = generated_array(tensor(datatype, low=0.0, high=200.0))
    little = made.astype(made.dtype.newbyteorder("<"))
    assert hashlib.sha256(little.tobytes()).hexdigest()[:8] == expected


@pytest.mark.parametrize("datatype", sorted(set(NUMPY_TYPES) - {"BYTES"}))
def test_they_are_of_the_shape_and_datatype_and_fill_the_range(datatype: Datatype) -> None:
    is_signed = NUMPY_TYPES[datatype].kind in "if"
    made = generated_array(tensor(datatype, low=-3.0 if is_signed else 0.0))
    assert (made.dtype, made.shape) == (NUMPY_TYPES[datatype], (40, 50))
    if NUMPY_TYPES[datatype].kind == "b":
        assert 0.45 < made.mean() < 0.55
    elif NUMPY_TYPES[datatype].kind in "iu":
        assert set(np.unique(made)) == set(range(-3 if is_signed else 0, 6))
    else:
        assert -3.0 <= made.min() < -2.9
        assert 4.9 < made.max() <= 5.0


@pytest.mark.parametrize("datatype", sorted(set(NUMPY_TYPES) - {"BYTES", "BOOL"}))
def test_the_widest_range_of_a_datatype_is_made_without_a_number_beyond_it(datatype: Datatype) -> None:
    kind = NUMPY_TYPES[datatype]
    info = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    low, high = (float(info.min), float(info.max))
    if kind.itemsize == 8:  # the largest has no float64 of its own, or from one to the other is more than it holds
        low, high = low / 2, float(np.nextafter(high, 0)) / 2
    made = generated_array(tensor(datatype, low, high)).astype(np.float64)
    assert low <= made.min() < low + (high - low) / 100
    assert high - (high - low) / 100 < made.max() <= high


def test_a_large_tensor_is_made_block_by_block_and_no_block_is_another_again() -> None:
    made = generated_array(GeneratedTensor(datatype="FP32", shape=(3, 65_536), seed=7, low=0.0, high=1.0))
    assert 0.49 < made.mean() < 0.51
    assert len({row.tobytes() for row in made}) == 3
    alone = generated_array(GeneratedTensor(datatype="FP32", shape=(65_540,), seed=7, low=0.0, high=1.0))
    np.testing.assert_array_equal(alone, made.reshape(-1)[:65_540])


def test_another_seed_gives_other_numbers() -> None:
    assert not np.array_equal(generated_array(tensor("FP32")), generated_array(tensor("FP32", seed=8)))


def test_a_golden_input_by_value_is_what_it_says() -> None:
    values = np.arange(6, dtype=np.int16).reshape(2, 3)
    np.testing.assert_array_equal(golden_array(to_tensor_data(values)), values)


def test_a_small_output_is_stated_whole_and_a_large_one_in_part() -> None:
    small = np.arange(6, dtype=np.float32)
    assert isinstance(golden_output(small), TensorData)
    large = np.random.default_rng(0).normal(size=(3, GOLDEN_BYTES // 4)).astype(np.float32)
    stated = golden_output(large)
    assert isinstance(stated, SampledTensor)
    assert (stated.shape, stated.step) == (large.shape, 3)
    assert len(stated.data) < 1.4 * GOLDEN_BYTES


def test_the_part_that_is_stated_is_compared_with_the_same_part() -> None:
    large = np.random.default_rng(0).normal(size=(5, GOLDEN_BYTES // 8)).astype(np.float32)
    stated = golden_output(large)
    assert isinstance(stated, SampledTensor)
    np.testing.assert_array_equal(*golden_part(large, stated))
    other = large.copy()
    other[0, stated.step] += 1.0
    expected, found = golden_part(other, stated)
    assert float(np.abs(expected - found).max()) == pytest.approx(1.0)
