"""The digits and their three disjoint splits, the same for the same seed on every machine."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoal_training.digits.settings import DigitsTraining
from shoal_training.errors import DataError

GREY_LEVELS = 16
"""The set's pixels are counts 0..16 (E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI 1998)."""


@dataclass(frozen=True)
class Split:
    """Images `x` (n, 8, 8, 1) float32 in 0..1 and labels `y` (n,) int32 in 0..9."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.y)

    def part(self, index: int, parts: int) -> "Split":
        """Return one of `parts` disjoint parts: every `parts`-th sample, from `index` on."""
        if not 0 <= index < parts:
            raise DataError(f"taking part {index} of {parts}: expected an index from 0 to {parts - 1}")
        return Split(self.x[index::parts], self.y[index::parts])


@dataclass(frozen=True)
class DigitsSplits:
    """`centre` trains version 1, `device` is what the devices hold, `test` is seen by no training."""

    centre: Split
    device: Split
    test: Split


def digits_splits(seed: int, settings: DigitsTraining | None = None) -> DigitsSplits:
    """Load the digits and divide them at random, with the same share of every digit in each split.

    Args:
        seed: Decides the division; the same seed gives the same splits.
        settings: Sizes of the splits.

    Raises:
        DataError: The sizes leave nothing for the test split.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    settings = settings or DigitsTraining()
    pixels, labels = load_digits(return_X_y=True)
    spare = len(labels) - settings.centre_samples - settings.device_samples
    if spare <= 0:
        raise DataError(
            f"dividing {len(labels)} digits into {settings.centre_samples} centre and {settings.device_samples} "
            f"device samples leaves {spare} for the test; lower one of the two"
        )
    x = (pixels / GREY_LEVELS).astype(np.float32).reshape(-1, 8, 8, 1)
    y = labels.astype(np.int32)
    centre, rest = train_test_split(
        np.arange(len(y)), train_size=settings.centre_samples, random_state=seed, stratify=y
    )
    device, test = train_test_split(rest, train_size=settings.device_samples, random_state=seed, stratify=y[rest])
    return DigitsSplits(*(Split(x[index], y[index]) for index in (centre, device, test)))
