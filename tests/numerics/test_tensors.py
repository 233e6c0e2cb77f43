"""Tensors keep every bit between numpy and the wire."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shoal_numerics.tensors import NUMPY_TYPES, Array, from_tensor_data, to_tensor_data

_ELEMENTS = {"BYTES": st.binary(max_size=9)}


@given(
    st.sampled_from(sorted(NUMPY_TYPES)).flatmap(
        lambda name: arrays.arrays(
            NUMPY_TYPES[name], arrays.array_shapes(min_dims=0, max_dims=4, min_side=0), elements=_ELEMENTS.get(name)
        )
    )
)
def test_an_array_survives_the_wire_bit_for_bit(array: Array) -> None:
    back = from_tensor_data(to_tensor_data(array))
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    if array.dtype.kind == "O":
        assert back.tolist() == array.tolist()
    else:
        assert back.tobytes() == array.tobytes()


def test_the_wire_is_little_endian_whatever_the_array_is() -> None:
    big = np.array([1, 2], dtype=">u2")
    tensor = to_tensor_data(big)
    assert (tensor.datatype, tensor.to_bytes()) == ("UINT16", b"\x01\x00\x02\x00")


def test_a_view_is_written_in_row_major_order() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    np.testing.assert_array_equal(from_tensor_data(to_tensor_data(array)), array)


def test_an_array_from_the_wire_can_be_written_to() -> None:
    array = from_tensor_data(to_tensor_data(np.zeros(3, dtype=np.float32)))
    array[0] = 1
    assert array[0] == 1


def test_an_array_that_the_protocol_has_no_datatype_for_is_refused() -> None:
    with pytest.raises(KeyError):
        to_tensor_data(np.array(["text"]))
