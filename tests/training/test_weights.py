"""Weights as files and as arrays."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from shoal_training.errors import WeightsError
from shoal_training.weights import blend, read_weights, write_weights


def _weights(seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype(np.float32) for shape in ((3, 3, 1, 2), (2,), (4, 5))]


def test_weights_come_back_from_the_file_bit_for_bit_and_in_order(tmp_path: Path) -> None:
    weights = [np.full((2,), position, np.float32) for position in range(12)]
    write_weights(tmp_path / "w", weights)
    for found, expected in zip(read_weights(tmp_path / "w"), weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_file_with_a_gap_in_its_keys_is_refused(tmp_path: Path) -> None:
    save_file({"000": np.zeros(1, np.float32), "002": np.zeros(1, np.float32)}, tmp_path / "w")
    with pytest.raises(WeightsError, match=r"expected \['000', '001'\]"):
        read_weights(tmp_path / "w")


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 64])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(WeightsError, match="expected a safetensors file"):
        read_weights(tmp_path / "w")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="expected a safetensors file"):
        read_weights(tmp_path / "w")


@given(share=st.floats(0, 1))
def test_a_blend_lies_between_parent_and_new(share: float) -> None:
    for parent, new, mixed in zip(_weights(1), _weights(2), blend(_weights(1), _weights(2), share), strict=True):
        np.testing.assert_allclose(mixed, share * parent + (1 - share) * new, atol=1e-6)


def test_a_blend_without_parent_is_the_new_weights_bit_for_bit() -> None:
    for new, mixed in zip(_weights(2), blend(_weights(1), _weights(2), 0.0), strict=True):
        np.testing.assert_array_equal(mixed, new)


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"parent share 1\.5 found"):
        blend(_weights(1), _weights(2), 1.5)


def test_a_blend_of_other_shapes_is_refused() -> None:
    with pytest.raises(WeightsError, match="the parent has"):
        blend(_weights(1), _weights(2)[:2], 0.5)
