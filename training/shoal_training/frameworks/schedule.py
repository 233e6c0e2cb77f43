"""How weights are moved: which optimiser, and how its learning rate changes over the epochs."""

import math
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from shoal_compression.values import Value


def _named(given: object) -> object:
    return {"name": given} if isinstance(given, str) else given


class Optimizer(Value):
    """What turns gradients into steps."""

    name: Literal["adamw", "adam", "sgd", "rmsprop"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Of `adamw` alone: the others' frameworks mean different things by it."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of `sgd`."""

    @model_validator(mode="after")
    def _check_decay(self) -> Self:
        if self.weight_decay and self.name != "adamw":
            raise ValueError(f"`weight_decay` goes with adamw, not with {self.name}; name adamw, or leave it out")
        return self


class Schedule(Value):
    """What the learning rate is multiplied with; a pure function of how far training is."""

    name: Literal["constant", "linear", "cosine", "step"] = "constant"
    warmup_epochs: float = Field(default=0.0, ge=0)
    """In which it rises from nothing."""
    final_ratio: float = Field(default=0.0, ge=0, le=1)
    """At the end of `linear` and `cosine`."""
    step_epochs: int = Field(default=10, ge=1)
    """Of `step`: after so many epochs it is multiplied with `step_factor`, again and again."""
    step_factor: float = Field(default=0.1, gt=0, le=1)

    def ratio(self, epoch: float, epochs: int) -> float:
        """Return the factor, 0..1.

        Args:
            epoch: Epochs that are done, with parts.
            epochs: Of all.
        """
        if epoch < self.warmup_epochs:
            return min(1.0, max(epoch, _LEAST_EPOCH) / self.warmup_epochs)
        if self.name == "constant":
            return 1.0
        if self.name == "step":
            return float(self.step_factor ** (epoch // self.step_epochs))
        done = min(1.0, (epoch - self.warmup_epochs) / max(epochs - self.warmup_epochs, _LEAST_EPOCH))
        left = 1.0 - done if self.name == "linear" else (1.0 + math.cos(math.pi * done)) / 2
        return self.final_ratio + (1.0 - self.final_ratio) * left


_LEAST_EPOCH: Final = 1e-3
"""The first step of a warm-up takes this much, not nothing."""

AnyOptimizer = Annotated[Optimizer, BeforeValidator(_named)]
"""In a file a mapping, or the name alone."""
AnySchedule = Annotated[Schedule, BeforeValidator(_named)]
