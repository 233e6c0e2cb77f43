"""Distillation: a model learns from what one or several others say, with labels or without."""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import DataError
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique
from shoal_compression.trainable.settings import Training
from shoal_compression.values import Value

if TYPE_CHECKING:
    from shoal_compression.data import Samples
    from shoal_compression.techniques.distil.hints import Hints
    from shoal_compression.trainable.network import Network


class Hint(Value):
    """A tensor of the student that shall tell as much as one of the first teacher's (Romero et al. 2015, FitNets)."""

    student: str
    """The name of a tensor in the student's graph."""
    teacher: str
    """The name of a tensor in the first teacher's graph, which has to be ONNX."""
    weight: float = Field(default=1.0, gt=0, le=1_000)


class Distil(Technique):
    """Train the model towards the answers of `Data.teachers`: in a recipe those of its source.

    The teachers' answers are divided by a temperature and mixed with the labels; the mean over several teachers counts.
    Without `train` the calibration samples are learnt from, and without labels the teachers alone.
    """

    technique: Literal["distil"] = "distil"
    hints: tuple[Hint, ...] = ()
    training: Training = Training(epochs=10)
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    trains: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "torch")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the model with what it has learnt.

        Raises:
            DataError: There is no teacher, or one of another task.
            TechniqueError: The model has operators that are not trained here, or not the tensors that hints name.
        """
        if not data.teachers:
            msg = f"applying {self.name}: no teacher found; give `teachers` with the data"
            raise DataError(f"{msg}, or run the step in a recipe, where the source is the teacher")
        from shoal_compression.trainable.fitting import fit, training_samples
        from shoal_compression.trainable.network import Network, repeatable
        from shoal_compression.trainable.objective import objective_of

        with repeatable(budget.seed, budget.threads):
            network = Network(model, budget.accelerator)
            samples = training_samples(data, self.training, budget.seed)
            objective = objective_of(network, model, samples, data.teachers, self.training, budget.threads)
            hints = self._hints(network, model, data.teachers[0], samples)
            extra: Callable[..., object] | None = None if hints is None else hints.loss
            fit(
                network,
                model,
                objective,
                budget,
                progress,
                self.name,
                extra=extra,  # type: ignore[arg-type]
                parameters=None if hints is None else hints.parameters,
            )
            return network.model()

    def _hints(self, network: "Network", model: Model, teacher: Model, samples: "Samples") -> "Hints | None":
        if not self.hints:
            return None
        from shoal_compression.techniques.distil.hints import Hints

        pairs = [(one.student, one.teacher, one.weight) for one in self.hints]
        return Hints(network, model, teacher, samples, pairs)
