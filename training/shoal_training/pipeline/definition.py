"""What a pipeline file says. It is read by `reading`, and run by `running`."""

from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_compression.values import Value
from shoal_contract.ids import Name
from shoal_training.evaluation.champion import Champion
from shoal_training.evaluation.custom_metrics import MAX_CUSTOM_METRICS, AnyCustomMetric
from shoal_training.evaluation.schemes import AnyScheme, HoldOut
from shoal_training.evaluation.slicing import AnySlicing
from shoal_training.explain.explanation import Explanation
from shoal_training.fairness.assess import Fairness
from shoal_training.frameworks.trainer import Task
from shoal_training.frameworks.trainers import AnyTrainer
from shoal_training.ingestion.source import SchemaChange
from shoal_training.ingestion.sources import AnySource
from shoal_training.launchers.launcher import Local
from shoal_training.launchers.launchers import AnyLauncher
from shoal_training.model_card import ModelCard
from shoal_training.transforms.steps import AnyStep
from shoal_training.tuning.settings import Tuning, check_space
from shoal_training.validation.check import Action
from shoal_training.validation.checks import AnyCheck

MAX_SOURCES, MAX_CHECKS, MAX_STEPS, MAX_SLICED = 64, 256, 64, 32
Column = Annotated[str, Field(min_length=1, max_length=256)]


class Ingestion(Value):
    """Where rows come from: section `data_ingestion`."""

    sources: tuple[AnySource, ...] = Field(min_length=1, max_length=MAX_SOURCES)
    """With the same columns; their rows follow each other."""
    is_strict: bool = True
    """Whether a row that can not be read ends the run; else it is left out and counted."""
    schema_change: SchemaChange = Field(default="strict", alias="schema")
    """What is done where columns change between files or sources: `strict` is an error, `widen` takes them all."""


class Validation(Value):
    """What must hold for rows before anything is learned from them."""

    checks: tuple[AnyCheck, ...] = Field(default=(), max_length=MAX_CHECKS)
    on_failure: Action = "fail"
    """For checks that say nothing themselves."""


class Preprocessing(Value):
    """What is done to rows: section `data_preprocessing`."""

    validation: Validation = Validation()
    transformation: tuple[AnyStep, ...] = Field(default=(), max_length=MAX_STEPS)
    """Steps in turn, fitted on the rows that are learned from; they go with the model."""


class Training(Value):
    """What is learned: section `model_training`."""

    task: Task = "classification"
    target: Column | None = None
    """The column that is learned; an anomaly needs none, and is measured by it where there is one."""
    inputs: tuple[Column, ...] = ()
    """Columns that are learned from; empty: all but the target."""
    trainer: AnyTrainer
    compute: AnyLauncher = Local()
    """Where it is trained."""
    tuning: Tuning | None = None
    """Settings of the trainer that are searched for; what is found is trained with."""

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.target is None and self.task != "anomaly":
            raise ValueError(f"`target` is missing, a {self.task} needs one; name the column that is learned")
        if self.target is not None and self.target in self.inputs:
            raise ValueError(
                f"the target {self.target} is among the inputs: it would be learned from itself; leave it out"
            )
        if self.task not in self.trainer.tasks:
            able = ", ".join(sorted(self.trainer.tasks))
            raise ValueError(
                f"{self.trainer.framework} does not learn a {self.task}, only {able}; name another framework"
            )
        misfit = self.compute.misfit(self.trainer)
        if misfit:
            raise ValueError(f"`compute`: {misfit}")
        if self.tuning is not None:
            check_space(self.tuning, self.trainer)
        return self


class Evaluation(Value):
    """How good is good enough: section `model_evaluation`."""

    validation_scheme: AnyScheme = HoldOut()
    limits: dict[str, float] = Field(default_factory=dict)
    """By metric, what the model must reach (for errors: at most), or no bundle is made."""
    metrics: tuple[AnyCustomMetric, ...] = Field(default=(), max_length=MAX_CUSTOM_METRICS)
    """Of the user's own, beside the task's."""
    slices: tuple[AnySlicing, ...] = Field(default=(), max_length=MAX_SLICED)
    """Columns whose parts are measured by themselves."""
    champion: Champion | None = None
    """That the model is compared with."""
    fairness: Fairness | None = None
    """Of a classification."""
    explanation: Explanation = Explanation()
    resamples: int = Field(default=1000, ge=0, le=100_000)
    """For intervals; 0: there are none."""
    threshold: float | None = None
    """Above which an anomaly's score is an alarm; None: `alarm_share` chooses it."""
    alarm_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of the rows that are learned from whose score lies above the threshold."""


class Pipeline(Value):
    """A whole pipeline file."""

    name: Name
    """Of the model in the registry."""
    author: str = Field(default="shoal", max_length=256)
    seed: int = Field(default=0, ge=0, lt=2**32)
    card: ModelCard = ModelCard()
    data_ingestion: Ingestion
    data_preprocessing: Preprocessing = Preprocessing()
    model_training: Training
    model_evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _check_fairness(self) -> Self:
        if self.model_evaluation.fairness is not None and self.model_training.task != "classification":
            raise ValueError(
                f"fairness is assessed of a classification, and the task is a {self.model_training.task}; leave it out"
            )
        return self
