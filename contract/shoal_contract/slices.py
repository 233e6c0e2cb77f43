"""Slices: parts of the samples, by a condition on one watched feature, that are counted by themselves."""

from typing import Final

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.limits import MAX_WATCHED_LABELS
from shoal_contract.wire import Count, WireValue

MAX_SLICES: Final = 16
"""Of one version."""
MAX_SLICE_COUNTS: Final = 4096
"""Labels and bins of confidence that all slices of a version have together: each window tells all of them."""


class SliceCounts(WireValue):
    """What was counted of the samples of one slice; merges by adding number to number."""

    samples: Count
    predictions: tuple[Count, ...] = Field(max_length=MAX_WATCHED_LABELS)
    confidence: tuple[Count, ...] = Field(max_length=1024)


class SliceBaseline(WireValue):
    """A slice, and what the reference has in it: the samples of which `low` < value <= `high`, or value = `equals`.

    A bound that is None bounds nothing; a missing value lies in no slice. The bounds are taken as float32.
    """

    name: str = Field(min_length=1, max_length=64)
    feature: Count
    """Its place among the baseline's features."""
    low: float | None = None
    high: float | None = None
    equals: float | None = None
    reference: SliceCounts

    @model_validator(mode="after")
    def _check_condition(self) -> Self:
        is_range = self.low is not None or self.high is not None
        if is_range == (self.equals is not None):
            msg = f"slice {self.name}: expected bounds, or the value that is equal, and not both"
            raise ValueError(msg)
        if self.low is not None and self.high is not None and self.low >= self.high:
            msg = f"slice {self.name}: low {self.low} is not below high {self.high}"
            raise ValueError(msg)
        return self
