"""What training a network means whichever framework does it: the fields, and what is made of samples first."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from shoal_compression.values import content_hash
from shoal_training.frameworks.checked_samples import check_samples
from shoal_training.frameworks.checkpoints import fingerprint
from shoal_training.frameworks.class_weights import ClassWeights, row_weights
from shoal_training.frameworks.early_stopping import EarlyStopping, parted
from shoal_training.frameworks.layers import Shape, activations_of, parameters_of
from shoal_training.frameworks.memory import check_room, network_bytes, says_memory
from shoal_training.frameworks.networks import AnyNetwork, Mlp
from shoal_training.frameworks.schedule import AnyOptimizer, AnySchedule, Optimizer, Schedule
from shoal_training.frameworks.trainer import Fitted, Samples, Task, TrainContext, Trainer
from shoal_training.frameworks.training_loop import HELD_OUT, WATCHED, Plan

Precision = Literal["float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]
RegressionLoss = Literal["squared", "absolute", "huber"]
_DECIDES_NOTHING: Final = frozenset({"checkpoint_epochs", "checkpoint_steps", "litert"})
"""Fields that change no weight; a checkpoint is gone on with under others of these."""


@dataclass(frozen=True)
class NetworkJob:
    """What is to be learned, ready for a framework.

    Attributes:
        shape: Of one sample.
        outputs: Numbers that the network gives for one: logits of the classes, or one.
        learned: To learn from; answers of a regression are scaled to mean 0 and deviation 1.
        measured: Samples by name that are measured after each epoch.
        mean: Of the answers of a regression, otherwise 0.
        deviation: Of the same, otherwise 1.
        context: What goes with it.
        plan: Of the loop.
    """

    shape: Shape
    outputs: int
    learned: Samples
    measured: Mapping[str, Samples]
    mean: float
    deviation: float
    context: TrainContext
    plan: Plan


class NetworkTrainer(Trainer, ABC):
    """A network, trained by gradients."""

    tasks: ClassVar[frozenset[Task]] = frozenset({"classification", "regression"})

    network: AnyNetwork = Mlp()
    epochs: int = Field(default=20, ge=1, le=100_000)
    """Passes over the samples, at most."""
    batch: int = Field(default=64, ge=1, le=1_048_576)
    """Samples that are computed at once, in each process."""
    accumulate: int = Field(default=1, ge=1, le=4096)
    """Batches that make one step, for steps of more samples than fit the memory."""
    optimizer: AnyOptimizer = Optimizer()
    schedule: AnySchedule = Schedule()
    clip_norm: float | None = Field(default=None, gt=0)
    """Length that a step's gradient has at most."""
    class_weights: ClassWeights = None
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of a label that goes to all classes alike."""
    regression_loss: RegressionLoss = "squared"
    precision: Precision | Literal["auto"] = "auto"
    """Of computing; weights stay float32. `auto`: bfloat16 on GPUs that have it, float16 on others; float32 on CPUs."""
    device: Device = "auto"
    """`auto`: a GPU where there is one."""
    checkpoint_epochs: int = Field(default=1, ge=1, le=100_000)
    """Epochs between checkpoints: what a kill costs at most."""
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """For long epochs: a checkpoint after so many steps as well."""
    early_stopping: EarlyStopping | None = None

    def described(self) -> str:
        """See `Trainer`."""
        return f"{self.network.kind} ({self.framework})"

    def sources(self, folder: Path) -> dict[str, str]:
        """See `Trainer`."""
        return self.network.sources(folder)

    def fit(self, train: Samples, held_out: Samples | None, context: TrainContext) -> Fitted:
        """See `Trainer`.

        Raises:
            NetworkError: The network can not be built, or its training diverges.
            MemoryNeededError: It does not fit the memory.
        """
        doing = f"training {self.described()}"
        with says_memory(doing):
            check_samples(train, held_out, context)
            job = self._job(train, held_out, context)
            layers = self.network.layers(job.shape, job.outputs)
            if layers is not None and self.device != "cuda":
                batch = min(self.batch, len(job.learned))
                check_room(network_bytes(parameters_of(layers), activations_of(layers), batch), doing)
            return self._fit(job)

    @abstractmethod
    def _fit(self, job: NetworkJob) -> Fitted:
        """Build the network, train it, and return it."""

    def _job(self, train: Samples, held_out: Samples | None, context: TrainContext) -> NetworkJob:
        is_regression = context.task == "regression"
        parts = {} if held_out is None else {HELD_OUT: held_out}
        learned = train
        if self.early_stopping is not None:
            learned, parts[WATCHED] = parted(train, self.early_stopping, context.seed)
        mean, deviation = _scale(learned) if is_regression else (0.0, 1.0)

        def ready(samples: Samples) -> Samples:
            weight = row_weights(samples, self.class_weights, context)
            y = samples.y
            if is_regression and y is not None:
                y = ((y - mean) / deviation).astype(np.float32)
            return Samples(np.asarray(samples.x, dtype=np.float32), y, weight)

        return NetworkJob(
            shape=train.x.shape[1:],
            outputs=1 if is_regression else context.classes,
            learned=ready(learned),
            measured={name: ready(samples) for name, samples in parts.items()},
            mean=mean,
            deviation=deviation,
            context=context,
            plan=self._plan(train, held_out, context),
        )

    def _plan(self, train: Samples, held_out: Samples | None, context: TrainContext) -> Plan:
        fields = {name: one for name, one in self.model_dump(mode="json").items() if name not in _DECIDES_NOTHING}
        decided: list[Any] = [self.framework, fields, dict(context.sources), context.task]
        return Plan(
            training=content_hash([*decided, context.classes, context.seed, fingerprint(train)]),
            epochs=self.epochs,
            rows_a_step=self.batch * self.accumulate,
            rate=self.optimizer.learning_rate,
            schedule=self.schedule,
            checkpoint_epochs=self.checkpoint_epochs,
            checkpoint_steps=self.checkpoint_steps,
            stopping=self.early_stopping,
            has_held_out=held_out is not None,
        )


def _scale(samples: Samples) -> tuple[float, float]:
    """Return mean and deviation of the answers; the deviation of answers that are all the same is 1."""
    y = np.zeros(1) if samples.y is None else samples.y.astype(np.float64)
    return float(y.mean()), float(y.std()) or 1.0
