"""What the training loop needs of a framework: steps, measures, and a state that can be kept and put back."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from shoal_training.onnx_samples import Array


class LossSum(NamedTuple):
    """A loss over rows: their weighted sum, and what they weigh together."""

    total: float
    weight: float

    @property
    def mean(self) -> float:
        """The loss of a row."""
        return self.total / self.weight if self.weight else 0.0


class Processes:
    """The processes that train one network together; here it is this one alone."""

    rank = 0
    count = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that tells, and writes checkpoints."""
        return self.rank == 0

    def sums(self, *values: float) -> tuple[float, ...]:
        """Return each value summed over all processes, the same in each of them."""
        return values

    def wait(self) -> None:
        """Return once all processes have come here."""


class Engine(ABC):
    """A network in training, by one framework."""

    processes: Processes

    @abstractmethod
    def order(self, epoch: int) -> Any:  # noqa: ANN401 - the framework's, of numbers, which can be sliced
        """Return the rows of an epoch in the order in which this process learns from them."""

    @abstractmethod
    def begin(self, epoch: int, step: int) -> None:
        """Let all that is drawn from here on follow from the seed and this place alone."""

    @abstractmethod
    def step(self, rows: Any, rate: float) -> None:  # noqa: ANN401 - as above
        """Move the weights once, by the loss over these rows.

        Args:
            rows: A part of an order.
            rate: The learning rate.
        """

    @abstractmethod
    def loss(self) -> LossSum:
        """Return the loss of the steps since it was last asked for, of this process."""

    @abstractmethod
    def measured(self, name: str) -> dict[str, float]:
        """Return `loss`, and `accuracy` of classes, over the samples of a name; the same in each process."""

    @abstractmethod
    def weights(self) -> dict[str, Array]:
        """Return a copy of what the network has learned."""

    @abstractmethod
    def set_weights(self, weights: dict[str, Array]) -> None:
        """Put back what `weights` has returned."""

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """Return a copy of the weights and all else that the next step depends on."""

    @abstractmethod
    def set_state(self, state: dict[str, Array]) -> None:
        """Put back what `state` has returned."""
