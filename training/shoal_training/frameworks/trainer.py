"""What trains a model: a few fields that say which and how, samples in, a fitted model out that writes itself as ONNX.

A trainer is data, from a pipeline file. The kinds are in `trainers`. What it gets is prepared already
(`shoal_training.transforms`), what it writes is joined with that preparation, compared and evaluated by others.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from shoal_compression.values import Value
from shoal_training.onnx_samples import Array
from shoal_training.progress import Progress, silent
from shoal_training.transforms.step import Affine

Task = Literal["classification", "regression", "anomaly"]
"""Scores of classes, (n, classes), or one number each, (n,); an anomaly's is the greater the odder."""


class Samples(NamedTuple):
    """Prepared samples.

    Attributes:
        x: (n, ...) float32.
        y: (n,) int64 places among the labels, or float32 where numbers are learned; None: there are none to learn.
        weight: (n,) float32, above 0; None: all weigh the same.
    """

    x: Array
    y: Array | None
    weight: Array | None = None

    def __len__(self) -> int:
        return len(self.x)


def no_metric(name: str, value: float, step: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class TrainContext:
    """What goes with training one model.

    Attributes:
        task: What is learned.
        classes: Number of labels of a classification, 0 otherwise.
        folder: For checkpoints; what lies there from an attempt before is gone on with.
        seed: Decides first weights and the order of samples.
        progress: Told after each epoch or round.
        metric: Told what is measured on the way: a name like `train_loss`, its value, the epoch or round from 1 on.
        threads: Of the CPU; None: all.
        sources: What the trainer's own files hold, text by name; see `Trainer.sources`.
    """

    task: Task
    classes: int
    folder: Path
    seed: int = 0
    progress: Progress = silent
    metric: Callable[[str, float, int], None] = no_metric
    threads: int | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


class Fitted(ABC):
    """A trained model."""

    facts: dict[str, Any]
    """What came out of training besides the model: the best epoch, why it stopped."""

    @abstractmethod
    def scores(self, x: Array) -> Array:
        """Return what it says of prepared samples: (n, classes) float32 that sum to 1, or (n,) float32; see `Task`."""

    @abstractmethod
    def graph(self) -> Any:  # noqa: ANN401 - onnx has few types
        """Return the ONNX model: one input `x` (-1, ...) float32, one output `scores` as `scores` gives them.

        Raises:
            ExportError: Its framework can not write it.
        """

    def write(self, folder: Path, input_name: str, x: Array, affine: Affine) -> tuple[str, ...]:  # noqa: ARG002 - for those that write more
        """Write the framework's own files that stand beside the ONNX file, such as `model.keras`; return their names.

        Args:
            folder: Where.
            input_name: What the whole model's input is called.
            x: Samples before they are prepared, on which what is made of the files is compared with `scores`.
            affine: What prepares them, channel by channel.

        Raises:
            ExportError: What is made of them does not compute what was trained.
        """
        return ()


class Trainer(Value, ABC):
    """What trains. Subclasses name their `framework`, declare fields, and fit."""

    framework: ClassVar[str]
    """By which a pipeline file names it."""
    tasks: ClassVar[frozenset[Task]]
    """That it can learn."""
    is_distributed: ClassVar[bool] = False
    """Whether several processes can train one model together."""
    keeps_checkpoints: ClassVar[bool] = True
    """Whether what was finished in a context's folder is read from there by the next `fit`, and not trained again."""

    @abstractmethod
    def fit(self, train: Samples, held_out: Samples | None, context: TrainContext) -> Fitted:
        """Train, or go on with what was trained before in the context's folder.

        Args:
            train: What is learned from.
            held_out: For what is told on the way; it decides nothing. None: nothing is.
            context: What goes with it.

        Raises:
            DataError: The samples are not what it can learn from.
            MemoryNeededError: It does not fit the memory.
            MissingLibraryError: The framework is not installed.
        """

    def sources(self, folder: Path) -> dict[str, str]:  # noqa: ARG002 - for those that have some
        """Return the files beside the pipeline file that it is made by, text by name: they decide what is trained.

        Raises:
            NetworkError: One can not be read.
        """
        return {}

    def described(self) -> str:
        """Return what trains, in a few words."""
        return self.framework

    def settings(self) -> dict[str, Any]:
        """Return the fields, for the run's record."""
        return self.model_dump(mode="json")


@dataclass
class History:
    """Metrics that were told on the way, for plots and records."""

    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def __call__(self, name: str, value: float, step: int) -> None:
        """Keep one."""
        self.points.setdefault(name, []).append((step, value))
