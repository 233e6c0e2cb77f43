"""When training ends before its last epoch or round: once rows that it does not learn from say no better."""

from typing import Literal

import numpy as np
from pydantic import Field

from shoal_compression.values import Record, Value
from shoal_training.errors import DataError
from shoal_training.frameworks.trainer import Samples


class EarlyStopping(Value):
    """Ends training, and puts the best weights back."""

    patience: int = Field(default=5, ge=1, le=10_000)
    """Epochs or rounds that may be no better."""
    metric: Literal["loss", "accuracy"] = "loss"
    least_change: float = Field(default=0.0, ge=0)
    """By which a value has to be better to count."""
    watched_ratio: float = Field(default=0.1, gt=0, lt=1)
    """Share of the rows to learn from that are watched instead. Rows that are held out decide nothing: what is measured
    on them afterwards would be too good."""

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether a value is better than the best so far."""
        if than is None:
            return True
        gain = than - value if self.metric == "loss" else value - than
        return gain > self.least_change


class Watch(Record):
    """How far it is, kept in checkpoints."""

    best: float | None = None
    best_at: int = 0
    """The epoch or round of it, from 1 on."""
    waited: int = 0

    def after(self, at: int, value: float, stopping: EarlyStopping) -> "Watch":
        """Return what holds once the value of an epoch or round is known."""
        if stopping.is_better(value, self.best):
            return Watch(best=value, best_at=at)
        return self.model_copy(update={"waited": self.waited + 1})


def parted(train: Samples, stopping: EarlyStopping, seed: int) -> tuple[Samples, Samples]:
    """Return the samples to learn from and those to watch, the same for the same seed; of each class the same share.

    Raises:
        DataError: There are too few rows.
    """
    random = np.random.default_rng([seed, len(train)])
    is_classes = train.y is not None and train.y.dtype.kind in "iu"
    groups = np.unique(train.y) if is_classes and train.y is not None else [None]
    watched = np.zeros(len(train), dtype=np.bool_)
    for group in groups:
        members = np.arange(len(train)) if group is None else np.flatnonzero(train.y == group)
        watched[random.permutation(members)[: round(len(members) * stopping.watched_ratio)]] = True
    if not watched.any() or watched.all():
        raise DataError(
            f"training: {len(train)} rows are too few to watch {stopping.watched_ratio:.0%} of them for early "
            "stopping; give more, or leave `early_stopping` out"
        )
    return _at(train, ~watched), _at(train, watched)


def _at(samples: Samples, rows: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Samples:
    x, y, weight = samples
    return Samples(x[rows], None if y is None else y[rows], None if weight is None else weight[rows])
