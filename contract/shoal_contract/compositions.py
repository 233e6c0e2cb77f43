"""Compositions on the device, as data: models that are served by several others, asked by a name of their own.

Sections `compositions/<name>` of the desired state. An ensemble asks all of its members and combines what they say; a
cascade asks one after the other, until one is sure. Members are models that the device serves.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.ids import Name, TensorName
from shoal_contract.wire import Ordinal, WireValue

MAX_COMPOSITIONS: Final = 8
MAX_MEMBERS: Final = 8
_MAX_WEIGHT: Final = 1_000_000

Renamed = Annotated[dict[TensorName, TensorName], Field(max_length=16)]
"""From a composition's name of a tensor to a member's; those that are not named are called the same."""


class Member(WireValue):
    """A model that is asked."""

    model: Name
    weight: float = Field(default=1.0, gt=0, le=_MAX_WEIGHT)
    """Of its word, in that of all members; a plain mean has none but 1."""
    inputs: Renamed = Field(default_factory=dict)
    outputs: Renamed = Field(default_factory=dict)


class Ensemble(WireValue):
    """All members are asked, and one output of theirs is combined.

    `weighted_mean`: of probabilities, or of any numbers, by the members' weights; `mean`: of numbers, all alike;
    `vote`: each member votes for the class of its largest score, and the answer is each class's share of the votes.
    """

    kind: Literal["ensemble"] = "ensemble"
    combine: Literal["weighted_mean", "mean", "vote"] = "weighted_mean"
    members: tuple[Member, ...] = Field(min_length=2, max_length=MAX_MEMBERS)
    output: TensorName | None = None
    """Which output is combined; None: the first of the first member."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_distinct([member.model for member in self.members])
        if self.combine == "mean" and any(member.weight != 1 for member in self.members):
            msg = "a plain mean has no weights: choose weighted_mean, or leave them out"
            raise ValueError(msg)
        return self


class Stage(WireValue):
    """A model of a cascade."""

    model: Name
    confidence: float | None = Field(default=None, gt=0, le=1)
    """From which probability of its best class on its answer is taken; None: whatever it says is, as it is the last."""
    inputs: Renamed = Field(default_factory=dict)
    outputs: Renamed = Field(default_factory=dict)


class Cascade(WireValue):
    """Models in order, the cheap ones first: a sample goes on to the next where one is not sure of it."""

    kind: Literal["cascade"] = "cascade"
    stages: tuple[Stage, ...] = Field(min_length=2, max_length=MAX_MEMBERS)
    output: TensorName | None = None
    """Which output has the probabilities; None: the first of the first model."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_distinct([stage.model for stage in self.stages])
        *before, last = self.stages
        for stage in before:
            if stage.confidence is None:
                msg = f"{stage.model} has no confidence from which on its answer is taken; only the last model has none"
                raise ValueError(msg)
        if last.confidence is not None:
            msg = f"{last.model} is the last model, whose answer is always taken: leave its confidence out"
            raise ValueError(msg)
        return self


class DesiredComposition(WireValue):
    """Section `compositions/<name>`: serve several models as one, under this name.

    `version` is what clients see as the composition's; it rises when its form is another one.
    """

    version: Ordinal = 1
    form: Annotated[Ensemble | Cascade, Field(discriminator="kind")]

    @property
    def parts(self) -> tuple[Member | Stage, ...]:
        """The models that it is made of, in order."""
        return self.form.members if isinstance(self.form, Ensemble) else self.form.stages

    @property
    def models(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(part.model for part in self.parts)


def _check_distinct(models: Sequence[str]) -> None:
    for model in models:
        if models.count(model) > 1:
            msg = f"{model} is named {models.count(model)} times, expected once"
            raise ValueError(msg)
