"""The steps of a transformation by the name that a pipeline file gives them; `fit_preparation` makes them work."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from shoal_compression.values import Value
from shoal_training.named_kinds import by_kind


class Step(Value):
    """Something that is done to columns. Subclasses name their `kind` and declare fields."""

    kind: ClassVar[str]

    columns: tuple[str, ...] = ()
    """That it is done to; empty: all numbers, or all texts, as the step takes."""


class Impute(Step):
    """Fills in what is missing."""

    kind: ClassVar[str] = "impute"

    strategy: Literal["mean", "median", "most_frequent", "constant"] = "median"
    fill_value: float | str | None = None
    """For `constant`."""


class Standardize(Step):
    """Takes off the mean and divides by the standard deviation, both of the rows that are learned from."""

    kind: ClassVar[str] = "standardize"


class OneHot(Step):
    """Makes a column of each category; one that was not seen in training is none of them."""

    kind: ClassVar[str] = "one_hot"

    max_categories: int | None = Field(default=None, ge=2, le=10_000)
    """The most frequent ones; the others share a column. None: all."""


BY_KIND: Final[dict[str, type[Step]]] = {one.kind: one for one in (Impute, Standardize, OneHot)}

AnyStep = Annotated[SerializeAsAny[Step], BeforeValidator(by_kind("step", BY_KIND, field="step"))]
"""A step with its fields; in a file a mapping whose `step` names it."""
