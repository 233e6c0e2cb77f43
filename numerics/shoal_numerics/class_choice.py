"""Which class a model's answers choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shoal_numerics.tensors import Array


PROBABILITY_CUT: Final = 0.5
LOGIT_CUT: Final = 0.0


def score_cut(outputs: Array) -> float:
    """Return where single scores (n, 1) or (n,) are cut: probabilities, all in 0..1, at 0.5, and logits at 0.

    Whoever compares two models decides it once, by the first one's answers, and cuts the other's there as well.
    """
    return PROBABILITY_CUT if bool((outputs >= 0).all() and (outputs <= 1).all()) else LOGIT_CUT


def chosen_classes(outputs: Array, cut: float | None = None) -> NDArray[np.int64]:
    """Return the class of each row: (n,) of scores (n, classes), of one score (n, 1) or (n,) whether it is positive.

    A single column of integers or booleans is taken as the class itself.

    Args:
        outputs: The scores.
        cut: Above which a single score is positive; None: `score_cut` says it.
    """
    flat = outputs.reshape(len(outputs), -1)
    if flat.shape[1] > 1:
        return np.asarray(flat.argmax(axis=1), np.int64)
    if flat.dtype.kind in "iub":
        return np.asarray(flat[:, 0], np.int64)
    return np.asarray(flat[:, 0] > (score_cut(flat) if cut is None else cut), np.int64)
