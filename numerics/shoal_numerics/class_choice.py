"""Which class a model's answers choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shoal_numerics.tensors import Array


def chosen_classes(outputs: Array) -> NDArray[np.int64]:
    """Return the class of each row: (n,) of scores (n, classes), of one score (n, 1) or (n,) whether it is positive.

    A single score is a probability where all lie in 0..1, and is cut at 0.5; otherwise it is a logit, and is cut at 0.
    A single column of integers or booleans is taken as the class itself.
    """
    flat = outputs.reshape(len(outputs), -1)
    if flat.shape[1] > 1:
        return np.asarray(flat.argmax(axis=1), np.int64)
    if flat.dtype.kind in "iub":
        return np.asarray(flat[:, 0], np.int64)
    is_probability = bool((flat >= 0).all() and (flat <= 1).all())
    return np.asarray(flat[:, 0] > (0.5 if is_probability else 0.0), np.int64)
