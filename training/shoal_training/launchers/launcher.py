"""What runs a training: a few fields that say where and with how much, a trainer and samples in, a fitted model out.

A launcher is data, from a pipeline file. The kinds are in `launchers`. Whatever a launcher starts lies in the context's
folder, tells its progress to the context, and ends with the call.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from shoal_compression.values import Value
from shoal_training.frameworks.trainer import Fitted, Samples, TrainContext, Trainer


class Launcher(Value, ABC):
    """Where a training runs. Subclasses name their `kind`, declare fields, and run it."""

    kind: ClassVar[str]
    """By which a pipeline file names it."""

    @abstractmethod
    def fit(self, trainer: Trainer, train: Samples, held_out: Samples | None, context: TrainContext) -> Fitted:
        """Run `Trainer.fit`, with the same samples and the same result: a fitted model in this process.

        Checkpoints lie in the context's folder, so that what was killed is gone on with by any launcher.

        Raises:
            TrainingError: What the trainer raises, by its own class.
            LaunchError: Processes could not be started, or ended too often.
        """

    def misfit(self, trainer: Trainer) -> str:  # noqa: ARG002 - for those that can not run all
        """Return why it can not run a trainer, for a pipeline's author; empty: it can."""
        return ""


class Local(Launcher):
    """This process."""

    kind: ClassVar[str] = "local"

    threads: int | None = Field(default=None, ge=1, le=1024)
    """Of the CPU; all without."""

    def fit(self, trainer: Trainer, train: Samples, held_out: Samples | None, context: TrainContext) -> Fitted:
        """See `Launcher`."""
        return trainer.fit(train, held_out, replace(context, threads=self.threads or context.threads))
