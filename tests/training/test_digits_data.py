"""The digits' splits and the shift."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from shoal_training.digits import DigitsShift, DigitsTraining, Split, digits_splits, shift
from shoal_training.digits.augment import augment
from shoal_training.digits.images import warp
from shoal_training.errors import DataError


def _rows(*splits: Split) -> list[tuple[float, ...]]:
    return sorted(tuple(image.ravel().tolist()) for split in splits for image in split.x)


def test_the_splits_hold_every_digit_of_the_set_once() -> None:
    splits = digits_splits(5)
    pixels, _ = load_digits(return_X_y=True)
    expected = sorted(tuple(row) for row in (pixels / 16).astype(np.float32).tolist())
    assert _rows(splits.centre, splits.device, splits.test) == expected


def test_images_are_float32_from_0_to_1_with_one_channel() -> None:
    x = digits_splits(0).centre.x
    assert (x.dtype, x.shape[1:], x.min(), x.max()) == (np.float32, (8, 8, 1), 0.0, 1.0)


def test_the_seed_alone_decides_the_splits() -> None:
    first, again, other = digits_splits(1), digits_splits(1), digits_splits(2)
    np.testing.assert_array_equal(first.test.x, again.test.x)
    assert not np.array_equal(first.test.x, other.test.x)


def test_every_split_has_its_share_of_each_digit() -> None:
    splits = digits_splits(7)
    for split in (splits.centre, splits.device, splits.test):
        counts = np.bincount(split.y, minlength=10)
        assert counts.min() > len(split) / 10 * 0.9


def test_parts_of_a_split_are_disjoint_and_complete() -> None:
    device = digits_splits(0).device
    assert _rows(*(device.part(index, 3) for index in range(3))) == _rows(device)


def test_a_part_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DataError, match="part 3 of 3"):
        digits_splits(0).device.part(3, 3)


def test_sizes_that_leave_no_test_digits_are_refused() -> None:
    with pytest.raises(DataError, match="leaves -3 for the test"):
        digits_splits(0, DigitsTraining(centre_samples=1000, device_samples=800))


def test_a_quarter_turn_moves_every_pixel_where_rot90_does() -> None:
    image = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    turned = warp(image, np.array([np.pi / 2]), np.zeros((1, 2)))
    np.testing.assert_allclose(turned[0], np.rot90(image[0]), atol=1e-9)


def test_a_move_shifts_rows_and_columns_and_brings_in_black() -> None:
    image = np.ones((1, 4, 4), np.float32)
    moved = warp(image, np.zeros(1), np.array([[1.0, 0.0]]))
    np.testing.assert_array_equal(moved[0, 0], np.zeros(4))
    np.testing.assert_array_equal(moved[0, 1:], np.ones((3, 4)))


def test_shifted_digits_stay_grey_values_and_leave_the_originals_alone() -> None:
    x = digits_splits(0).test.x
    before = x.copy()
    shifted = shift(x, 1)
    assert (shifted.dtype, shifted.shape) == (np.float32, x.shape)
    assert shifted.min() >= 0.0
    assert shifted.max() <= 1.0
    assert np.abs(shifted - x).mean() > 0.1
    np.testing.assert_array_equal(x, before)


def test_the_seed_alone_decides_the_shift() -> None:
    x = digits_splits(0).test.x
    np.testing.assert_array_equal(shift(x, 1), shift(x, 1))
    assert not np.array_equal(shift(x, 1), shift(x, 2))


def test_no_angle_and_no_noise_is_no_shift() -> None:
    x = digits_splits(0).test.x
    still = DigitsShift(min_angle_deg=0.0, max_angle_deg=0.0, noise_std=0.0)
    np.testing.assert_array_equal(shift(x, 1, still), x)


def test_images_without_a_channel_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(3, 8, 8\) found"):
        shift(np.zeros((3, 8, 8), np.float32), 0)


def test_augmented_data_begins_with_the_scans_themselves() -> None:
    centre = digits_splits(0).centre
    augmented = augment(centre, 0, DigitsTraining(augmented_copies=2))
    assert len(augmented) == 3 * len(centre)
    np.testing.assert_array_equal(augmented.x[: len(centre)], centre.x)
    np.testing.assert_array_equal(augmented.y, np.tile(centre.y, 3))
