"""What a compression technique is: it takes a model, data and a budget, and gives a model.

Each technique is a file under `techniques/`; its fields are what a recipe may set, and so are checked, documented and
hashed with the recipe.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict

from shoal_compression.budget import Budget
from shoal_compression.checking import check_result, check_weights
from shoal_compression.data import Data
from shoal_compression.errors import DataError, SourceError
from shoal_compression.extras import says_extra
from shoal_compression.failing import told
from shoal_compression.memory_needed import (
    COPIES_OF_COMPUTING,
    COPIES_OF_TRAINING,
    COPIES_OF_WRITING,
    check_memory,
)
from shoal_compression.model import Form, Model

WRITERS: Final = frozenset({"onnx"})
"""Distributions that write files and compute nothing."""
Progress = Callable[[str, int, int], None]
"""Called with a stage, the steps done and the steps in all; must be quick and must not raise."""


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


class Technique(BaseModel, ABC):
    """One way to make a model smaller or faster. It holds its parameters and nothing else: `apply` changes nothing.

    A subclass has a field `technique: Literal["its-name"]` with that name as default, by which a recipe chooses it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    takes: ClassVar[frozenset[Form]]
    """The forms of model that it works on."""
    gives: ClassVar[Form | None] = None
    """The form that it makes; None: the one that it was given."""
    trains: ClassVar[bool] = False
    """Whether it trains: it takes its time, and may win back what steps before it have lost."""
    needs_train: ClassVar[bool] = False
    """Whether it needs `Data.train`; others that train make do with the samples for calibration."""
    is_lossless: ClassVar[bool] = False
    """Whether outputs stay the same but for rounding in float32."""
    tools: ClassVar[tuple[str, ...]]
    """The distributions that have a part in the file; their versions go into the lineage."""

    def apply(self, model: Model, data: Data, budget: Budget, progress: Progress = silent) -> Model:
        """Return the compressed model: names and datatypes of inputs and outputs are those of `model`.

        The same model, data, parameters and seed give the same bytes on the same machine.

        Raises:
            SourceError: The model is of a form that the technique does not take, or its weights are not finite.
            DataError: The samples do not fit the model, or there are none to train on.
            TechniqueError: The model can not be compressed this way, or the memory is too small for it; it says what
                stands in the way. Whatever else fails is its cause.
            MissingLibraryError: A library that it works with is not installed.
        """
        doing = f"applying {self.name}"
        if model.form not in self.takes:
            known = " or ".join(sorted(self.takes))
            raise SourceError(f"{doing}: a model as {model.form} found, expected {known}; convert it in a step before")
        if self.needs_train and data.train is None:
            raise DataError(f"{doing}: no samples to train on; give `train` with the data")
        with told(doing, "leave this step out, or report this with the model's operators"), says_extra(doing):
            data.check(model)
            check_memory(model.size_bytes, self._copies, doing)
            check_weights(model)
            made = self.make(model, data, budget, progress)
            check_result(made, doing)
        return made

    @property
    def computes(self) -> bool:
        """Whether it runs a model, so that threads have a part in the result; others only write files."""
        return self.trains or bool(set(self.tools) - WRITERS)

    @property
    def _copies(self) -> int:
        if self.trains:
            return COPIES_OF_TRAINING
        return COPIES_OF_COMPUTING if self.computes else COPIES_OF_WRITING

    @property
    def name(self) -> str:
        """What recipes call it."""
        return str(type(self).model_fields["technique"].default)

    @abstractmethod
    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Do what `apply` says, with input that is checked; the result is checked afterwards.

        Raises:
            CompressionError: As `apply`.
        """
