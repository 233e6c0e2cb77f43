"""Labels of channels go with their values through every change of shape."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shoal_compression.channels.labels import Unions, fixed, reshaped


def test_what_meets_a_fixed_channel_is_fixed() -> None:
    unions = Unions()
    some, others = unions.fresh(3), unions.fresh(3)
    unions.unite(some, others)
    unions.fix(others[1:2])
    assert list(unions.roots(some) == 0) == [False, True, False]


@given(channels=st.integers(2, 5), height=st.integers(1, 4), width=st.integers(1, 4), is_last=st.booleans())
def test_a_flattened_picture_keeps_the_channel_of_every_value(
    channels: int, height: int, width: int, *, is_last: bool
) -> None:
    unions = Unions()
    labels = unions.fresh(channels)
    axes = (
        [fixed(2), fixed(height), fixed(width), labels] if is_last else [fixed(2), labels, fixed(height), fixed(width)]
    )
    [rows, flat] = reshaped(unions, axes, [2, channels * height * width])
    shape = (height, width, channels) if is_last else (channels, height, width)
    turned = labels if is_last else labels[:, None, None]
    assert np.array_equal(flat, np.broadcast_to(turned, shape).reshape(-1))
    assert not rows.any()
    sizes = [len(one) for one in axes]
    back = reshaped(unions, [rows, flat], sizes)
    assert np.array_equal(back[3 if is_last else 1], labels)


def test_channels_that_are_cut_into_heads_are_fixed() -> None:
    unions = Unions()
    labels = unions.fresh(8)
    made = reshaped(unions, [fixed(2), labels], [2, 4, 2])
    assert [list(one) for one in made] == [[0, 0], [0] * 4, [0, 0]]
    assert not unions.roots(labels).any()
