"""The first task: handwritten digits, 8x8 grey values, real scans that scikit-learn carries along.

`python -m shoal_training.digits --out DIR` trains version 1 and writes its bundle.
"""

from shoal_training.digits.data import DigitsSplits, Split, digits_splits
from shoal_training.digits.settings import DigitsShift, DigitsTraining, FederatedDefaults
from shoal_training.digits.shift import shift
from shoal_training.digits.train import train_digits

__all__ = [
    "DigitsShift",
    "DigitsSplits",
    "DigitsTraining",
    "FederatedDefaults",
    "Split",
    "digits_splits",
    "shift",
    "train_digits",
]
