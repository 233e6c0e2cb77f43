"""What a window tells of a model's performance: counts of the answers whose truth came back, mergeable.

Whole numbers travel as one packed vector, whose layout both sides derive from the version's baseline
(`shoal_numerics.label_counts`); sums of floats as they are. Nothing of it is there where no truth came back.
"""

from typing import Annotated, Final

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.slices import MAX_SLICES
from shoal_contract.wire import Count, Ordinal, WireValue

MAX_CONFUSED_CLASSES: Final = 64
"""Up to so many classes, each pair of true and predicted class is counted; above, true and false positives and false
negatives of each class alone."""
MAX_SCORED_CLASSES: Final = 16
"""Up to so many classes, scores are counted of each, for the area under the ROC curve."""
MAX_CUSTOM_METRICS: Final = 16
"""Metrics of its own that an application may name in one window of one version."""
MAX_METRIC_VALUE: Final = 1e30
"""Of a truth, an answer or a metric, either side of 0: squares of it, and sums of these, stay finite."""
MAX_TRUE_VALUE: Final = MAX_METRIC_VALUE / 4
"""Of the truth and the answer of a regression: their difference stays within `MAX_METRIC_VALUE`."""
MAX_LABEL_COUNTS_CHARS: Final = 48 * 1024
"""Of the packed counts of one window; what takes more is left out, and the window says so."""
METRIC_NAME: Final = r"^[a-z][a-z0-9_.-]{0,63}$"

MetricName = Annotated[str, Field(pattern=METRIC_NAME)]
_Bounded = Annotated[float, Field(ge=-MAX_METRIC_VALUE, le=MAX_METRIC_VALUE)]
_Sum = Annotated[float, Field(ge=0)]


class ConfidenceCalibration(WireValue):
    """How often a version was right on labelled data that it was not trained on, by how sure it was.

    Counts over the bins of the baseline's confidence.
    """

    answered: tuple[Count, ...] = Field(max_length=1024)
    right: tuple[Count, ...] = Field(max_length=1024)
    """Of those, the answers that were right."""

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if len(self.right) != len(self.answered):
            msg = f"{len(self.right)} bins of right answers for {len(self.answered)} of all"
            raise ValueError(msg)
        if any(right > answered for right, answered in zip(self.right, self.answered, strict=True)):
            msg = "more right answers than answers"
            raise ValueError(msg)
        return self


class ValueSums(WireValue):
    """Count, mean and sum of squared distances from the mean of some numbers, and the least and largest of them.

    Merged by Chan, Golub and LeVeque's rule (Stanford STAN-CS-79-773), which no mean far from 0 makes inexact.
    """

    values: Ordinal
    mean: _Bounded
    squares: _Sum
    """Sum of (number - mean)²."""
    least: _Bounded
    most: _Bounded

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if not self.least <= self.mean <= self.most:
            msg = f"a mean of {self.mean} found, which is not between {self.least} and {self.most}"
            raise ValueError(msg)
        return self


class RegressionSums(WireValue):
    """Sums of the errors of answers that are numbers; an error is the answer less the truth."""

    errors: ValueSums
    absolute: _Sum
    """Sum of the errors without their sign."""
    truth: ValueSums
    """Of the true values."""

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if self.errors.values != self.truth.values:
            msg = f"{self.errors.values} errors found for {self.truth.values} true values"
            raise ValueError(msg)
        return self


class CustomMetric(WireValue):
    """What an application has measured by itself, under a name of its own."""

    name: MetricName
    sums: ValueSums


class PerformanceCounts(WireValue):
    """What truth came back in a window, of answers that may have been given in an earlier one."""

    counts: str | None = Field(default=None, max_length=MAX_LABEL_COUNTS_CHARS)
    """Base64 of the packed counts of labels (`shoal_numerics.label_counts.LabelLayout`); None: no label came."""
    regression: RegressionSums | None = None
    """Of a version that answers numbers; None: no true value came."""
    regression_slices: tuple[RegressionSums | None, ...] | None = Field(default=None, max_length=MAX_SLICES)
    """The same of each slice, in the baseline's order; None of one in which none came."""
    not_finite: Count = 0
    """True values whose answer was NaN, infinite or beyond `MAX_TRUE_VALUE`; they are in no sum."""
    metrics: tuple[CustomMetric, ...] = Field(default=(), max_length=MAX_CUSTOM_METRICS)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if len({one.name for one in self.metrics}) != len(self.metrics):
            msg = "two metrics have the same name"
            raise ValueError(msg)
        return self
