"""Federated updates: what comes back, and which updates are refused."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoal_numerics import UpdateError, decode_update, encode_update, weights_sha256
from shoal_numerics.compressed import compress
from shoal_numerics.integer_difference import difference_blocks
from shoal_numerics.update_coding import Scheme

SHAPES = st.lists(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), min_size=1, max_size=4)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
MODERATE = st.floats(-1000, 1000, width=32)
LIMIT = 10**9
MAX = np.finfo(np.float32).max


def weights_and_base(elements: st.SearchStrategy[float]) -> st.SearchStrategy[list[tuple[np.ndarray, np.ndarray]]]:
    def tensors(shapes: list[tuple[int, ...]]) -> st.SearchStrategy[list[tuple[np.ndarray, np.ndarray]]]:
        arrays = [hnp.arrays(np.float32, shape, elements=elements) for shape in shapes]
        return st.tuples(*(st.tuples(array, array) for array in arrays)).map(list)

    return SHAPES.flatmap(tensors)


def model(seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    random = np.random.default_rng(seed)
    base = [random.standard_normal(shape).astype(np.float32) for shape in ((64, 32), (32,), (32, 10), ())]
    weights = [np.asarray(tensor + 0.01 * random.standard_normal(tensor.shape), dtype=np.float32) for tensor in base]
    return weights, base


@given(weights_and_base(FINITE))
def test_float32_updates_come_back_bit_by_bit(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    weights, base = [list(side) for side in zip(*pairs, strict=True)]
    again = decode_update(encode_update(weights, base, "float32"), base, LIMIT)
    assert [tensor.shape for tensor in again] == [tensor.shape for tensor in weights]
    assert [tensor.tobytes() for tensor in again] == [tensor.tobytes() for tensor in weights]
    assert all(tensor.dtype == np.float32 for tensor in again)


@given(weights_and_base(MODERATE), st.one_of(st.none(), st.integers(0, 2**32)))
def test_int8_updates_are_within_a_step_of_the_tensors_largest_change(
    pairs: list[tuple[np.ndarray, np.ndarray]], seed: int | None
) -> None:
    weights, base = [list(side) for side in zip(*pairs, strict=True)]
    again = decode_update(encode_update(weights, base, "int8", rounding_seed=seed), base, LIMIT)
    for tensor, old, found in zip(weights, base, again, strict=True):
        largest = np.abs(tensor.astype(np.float64) - old).max(initial=0)
        step = largest / 127 * (0.5 if seed is None else 1.0)
        float32_noise = 1e-6 * max(largest, np.abs(old).max(initial=0)) + 1e-42
        assert (np.abs(found.astype(np.float64) - tensor) <= step + float32_noise).all()


@given(weights_and_base(FINITE))
def test_extreme_weights_never_decode_to_something_not_finite(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    weights, base = [list(side) for side in zip(*pairs, strict=True)]
    try:
        again = decode_update(encode_update(weights, base, "int8"), base, LIMIT)
    except UpdateError:
        return
    assert all(np.isfinite(tensor).all() for tensor in again)


def test_stochastic_rounding_is_unbiased_and_the_same_for_the_same_seed() -> None:
    base = [np.zeros(1001, dtype=np.float32)]
    weights = [np.full(1001, 0.3 / 127, dtype=np.float32)]
    weights[0][0] = 1.0
    nearest = decode_update(encode_update(weights, base, "int8"), base, LIMIT)[0]
    means = [
        decode_update(encode_update(weights, base, "int8", rounding_seed=seed), base, LIMIT)[0][1:].mean()
        for seed in range(20)
    ]
    assert nearest[1:].max() == 0
    assert np.mean(means) == pytest.approx(0.3 / 127, rel=0.05)
    assert encode_update(weights, base, "int8", rounding_seed=5) == encode_update(
        weights, base, "int8", rounding_seed=5
    )
    assert encode_update(weights, base, "int8", rounding_seed=5) != encode_update(
        weights, base, "int8", rounding_seed=6
    )


def test_int8_takes_at_most_30_percent_of_float32() -> None:
    weights, base = model()
    raw_bytes = sum(tensor.nbytes for tensor in weights)
    assert len(encode_update(weights, base, "int8")) <= 0.3 * raw_bytes
    assert len(encode_update(weights, base, "float32")) < raw_bytes


def test_decoded_tensors_can_be_written_to() -> None:
    weights, base = model()
    for scheme in ("float32", "int8"):
        decode_update(encode_update(weights, base, scheme), base, LIMIT)[0][:] = 0  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["float32", "int8"])
def test_nan_infinities_wrong_shapes_and_dtypes_are_not_encoded(scheme: Scheme) -> None:
    weights, base = model()
    for bad in (np.nan, np.inf, -np.inf):
        poisoned = [tensor.copy() for tensor in weights]
        poisoned[1][3] = bad
        with pytest.raises(UpdateError, match="tensor 1 holds NaN or infinite"):
            encode_update(poisoned, base, scheme)
        with pytest.raises(UpdateError, match="tensor 1 holds NaN or infinite"):
            encode_update(weights, poisoned, scheme)
    for wrong in (weights[:-1], [*weights, weights[0]], [weights[0].T, *weights[1:]], []):
        with pytest.raises(UpdateError, match="expected .* as in the base"):
            encode_update(wrong, base, scheme)
    with pytest.raises(UpdateError, match="tensor 0 is float64"):
        encode_update([weights[0].astype(np.float64), *weights[1:]], base, scheme)
    with pytest.raises(UpdateError, match="tensor 0 is list"):
        encode_update([[1.0]], base, scheme)  # type: ignore[list-item]


def test_a_change_beyond_float32_is_not_quantized() -> None:
    with pytest.raises(UpdateError, match="beyond float32"):
        encode_update([np.array([MAX])], [np.array([-MAX])], "int8")


def test_an_unknown_scheme_and_an_empty_model_are_refused() -> None:
    weights, base = model()
    with pytest.raises(UpdateError, match="unknown scheme 'int4'"):
        encode_update(weights, base, "int4")  # type: ignore[arg-type]
    with pytest.raises(UpdateError, match="found 0 tensors"):
        encode_update([], [], "float32")


@pytest.mark.parametrize("scheme", ["float32", "int8"])
def test_an_update_of_another_round_or_model_or_over_budget_is_refused(scheme: Scheme) -> None:
    weights, base = model()
    data = encode_update(weights, base, scheme)
    with pytest.raises(UpdateError, match="another round"):
        decode_update(data, model(seed=1)[1], LIMIT)
    with pytest.raises(UpdateError, match="shapes of the base"):
        decode_update(data, [base[0].T, *base[1:]], LIMIT)
    with pytest.raises(UpdateError, match="shapes of the base"):
        decode_update(data, base[:-1], LIMIT)
    with pytest.raises(UpdateError, match=f"has {len(data)} bytes, expected at most"):
        decode_update(data, base, len(data) - 1)


def test_a_poisoned_scale_or_difference_is_refused() -> None:
    base = [np.zeros(4, dtype=np.float32)]
    data = bytearray(encode_update([np.ones(4, dtype=np.float32)], base, "int8"))
    place = 40 + 1 + 4
    for scale in (np.nan, np.inf, -1.0):
        data[place : place + 4] = struct.pack("<f", scale)
        with pytest.raises(UpdateError, match="scale"):
            decode_update(bytes(data), base, LIMIT)
    data[place : place + 4] = struct.pack("<f", MAX)
    with pytest.raises(UpdateError, match="range of float32"):
        decode_update(bytes(data), base, LIMIT)


def test_nan_smuggled_into_a_lossless_update_is_refused() -> None:
    base = [np.zeros(4, dtype=np.float32)]
    header = encode_update(base, base, "float32")[: 40 + 1 + 4]
    poison = np.array([0, np.nan, 0, 0], dtype=np.float32)
    frame = compress(b"".join(difference_blocks(base[0].tobytes(), poison.tobytes(), 4)))
    with pytest.raises(UpdateError, match="NaN or infinite"):
        decode_update(header + frame, base, LIMIT)


@given(st.data())
@settings(max_examples=300)
def test_a_tampered_update_is_refused_or_decodes_to_finite_weights_of_the_right_shapes(data: st.DataObject) -> None:
    weights, base = model()
    scheme: Scheme = data.draw(st.sampled_from(["float32", "int8"]))
    update = bytearray(encode_update(weights, base, scheme))
    # Half of the changes go to the header, the scales and the start of the frame.
    last = len(update) - 1
    position = data.draw(st.one_of(st.integers(0, 120), st.integers(0, last)))
    if data.draw(st.booleans()):
        update = update[:position]
    else:
        update[position] ^= data.draw(st.integers(1, 255))
    try:
        again = decode_update(bytes(update), base, LIMIT)
    except UpdateError:
        return
    assert [tensor.shape for tensor in again] == [tensor.shape for tensor in base]
    assert all(np.isfinite(tensor).all() for tensor in again)


def test_hash_of_weights_depends_on_values_shapes_and_order_but_not_on_layout() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert weights_sha256([matrix]) == weights_sha256([np.asfortranarray(matrix)])
    others = [[matrix.reshape(3, 2)], [matrix[0], matrix[1]], [matrix[::-1]], [matrix, matrix], [matrix + 1], []]
    assert len({weights_sha256(weights) for weights in [[matrix], *others]}) == 7


def test_hash_of_weights_is_pinned() -> None:
    weights = [np.array([[1.0, -2.5]], dtype=np.float32), np.array(0.0, dtype=np.float32)]
    assert weights_sha256(weights) == "e469b3b136c12a4e4bdc15f6d68a7c6f5d847f2bb8e4c8b636c17a091e7ebe61"
