"""What is asked of an explanation, and what it came to."""

from typing import Final, Literal

from pydantic import Field

from shoal_compression.values import Record, Value

Method = Literal["permutation", "shap"]
MOST_COLUMNS: Final = 256


class Explanation(Value):
    """How a model is explained: section `model_evaluation.explanation`."""

    methods: tuple[Method, ...] = ("permutation",)
    """None: it is not explained. `shap` takes seconds to minutes."""
    rows: int = Field(default=500, ge=1, le=100_000)
    """Held-out rows that are looked at for permutation importance, drawn at random."""
    repeats: int = Field(default=5, ge=1, le=100)
    """How often each column is shuffled."""
    shap_rows: int = Field(default=100, ge=1, le=10_000)
    """Held-out rows that SHAP values are computed of."""
    background_rows: int = Field(default=50, ge=1, le=1000)
    """Rows that were learned from, which stand for a column that is not known."""
    seconds: float = Field(default=120.0, gt=0)
    """For SHAP; of the rows that there was no time for there are no values."""


class Importance(Record):
    """How much a model depends on one column."""

    column: str
    permutation: float | None = None
    """By how much the metric is worse where the column is shuffled; mean over repeats."""
    permutation_deviation: float | None = None
    """Over repeats."""
    shap: float | None = None
    """Mean size of its SHAP values, in the unit of `ExplanationResult.shap_unit`."""


class ShapPoints(Record):
    """SHAP values of one column, for a picture: of the class that is explained, one a row."""

    column: str
    values: tuple[float, ...]
    ranks: tuple[float, ...]
    """Where the column's own value lies among the rows, 0..1."""


class ExplanationResult(Record):
    """An explanation."""

    importances: tuple[Importance, ...] = ()
    """The most important column first."""
    metric: str = ""
    """That permutation importance is in the unit of."""
    rows: int = 0
    shap_method: str = ""
    """`tree` of exact values along the trees, or `permutation` of estimates by asking the model."""
    shap_unit: str = ""
    shap_rows: int = 0
    points: tuple[ShapPoints, ...] = ()
    notes: tuple[str, ...] = ()
