"""What a search for settings is: section `model_training.tuning`."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from typing_extensions import Self

from shoal_compression.recipe_errors import first_of
from shoal_compression.values import Value
from shoal_training.frameworks.trainer import Trainer

Setting = bool | int | float | str
Pruner = Literal["median", "hyperband", "successive_halving", "none"]
MAX_SETTINGS: Final = 64
AnyOne = TypeVar("AnyOne", bound=Trainer)


class Range(Value):
    """What a setting may be: a number from `low` to `high`, whole if both are, or one of `choices`."""

    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = Field(default=None, gt=0)
    is_log: bool = Field(default=False, alias="log")
    """Whether small numbers are tried as often as large ones."""
    choices: tuple[Setting, ...] = Field(default=(), max_length=256)

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if self.choices:
            if (self.low, self.high, self.step) != (None, None, None) or self.is_log:
                raise ValueError("`choices` and a range found, expected one of both; leave one out")
            return self
        if self.low is None or self.high is None or self.low >= self.high:
            raise ValueError(f"low {self.low} and high {self.high} found, expected a low below a high; or `choices`")
        if self.is_log and (self.low <= 0 or self.step is not None):
            raise ValueError("`log` needs a low above 0 and no `step`; change one of them")
        return self

    def first(self) -> Setting:
        """Return a value of it."""
        if self.choices:
            return self.choices[0]
        assert self.low is not None  # noqa: S101 - just checked
        return self.low

    def suggest(self, trial: Any, name: str) -> Setting:  # noqa: ANN401 - Optuna's trial
        """Return the value that a trial chooses."""
        if self.choices:
            return trial.suggest_categorical(name, list(self.choices))  # type: ignore[no-any-return]  # one of them
        if all(isinstance(one, int) for one in (self.low, self.high, self.step or 1)):
            return int(trial.suggest_int(name, self.low, self.high, step=self.step or 1, log=self.is_log))
        return float(trial.suggest_float(name, self.low, self.high, step=self.step, log=self.is_log))


def _ranged(given: Any) -> Any:  # noqa: ANN401 - what a file has
    return {"choices": given} if isinstance(given, list | tuple) else given


AnyRange = Annotated[Range, BeforeValidator(_ranged)]
"""A range with its fields; in a file a list of choices alone is enough."""


class Tuning(Value):
    """A search."""

    space: dict[str, AnyRange] = Field(min_length=1, max_length=MAX_SETTINGS)
    """By field of the trainer, such as `epochs`; a dot leads into one, such as `parameters.max_depth`."""
    trials: int = Field(default=20, ge=1, le=100_000)
    minutes: float | None = Field(default=None, gt=0)
    """After which no trial is begun; None: all are."""
    metric: str = Field(default="", max_length=64)
    """That is searched for; the task's main one without."""
    pruner: Pruner = "median"
    """Ends trials that fare worse than others did, by what trainers tell on the way."""
    pruned_by: str = Field(default="held_out_loss", min_length=1, max_length=64)
    """What is looked at for that, as the trainer names it; a loss or an error falls, anything else rises."""
    validation_ratio: float = Field(default=0.2, gt=0, lt=1)
    """Share of the rows that are learned from on which trials are measured: what is held out is not looked at."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes at once."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the sampler; with one worker the same search finds the same."""
    storage: str = Field(default="", max_length=4096)
    """Where the study is kept: an SQLAlchemy URL, in which `$NAME` stands for an environment variable, as for a
    password; without, a file in the folder of results."""


def tuning_decided_by(tuning: Tuning) -> list[Any]:
    """Return what decides what a search finds, as JSON has it."""
    return [tuning.model_dump(mode="json", exclude={"storage", "workers"})]


def with_settings(trainer: AnyOne, settings: Mapping[str, Setting]) -> AnyOne:
    """Return a trainer with other settings.

    Raises:
        ValueError: It has no such field, or the field no such value.
    """
    fields: dict[str, Any] = trainer.model_dump(mode="json", by_alias=True)
    for name, value in settings.items():
        *outer, last = name.split(".")
        within = fields
        for part in outer:
            inner = within.setdefault(part, {})
            if inner is None:
                inner = within[part] = {}
            if not isinstance(inner, dict):
                raise ValueError(f"{name}: {part} of {trainer.framework} holds no fields; name the field itself")  # noqa: TRY004 - pydantic tells ValueErrors
            within = inner
        within[last] = value
    try:
        return type(trainer).model_validate(fields)
    except ValidationError as error:
        place, reason = first_of(error)
        where = ".".join(map(str, place)) or trainer.framework
        raise ValueError(f"{where}: {reason}") from error


def check_space(tuning: Tuning, trainer: Trainer) -> None:
    """See that a trainer has the settings that are searched for.

    Raises:
        ValueError: It has not.
    """
    try:
        with_settings(trainer, {name: one.first() for name, one in tuning.space.items()})
    except ValueError as error:
        raise ValueError(f"tuning.space: {error}") from error
