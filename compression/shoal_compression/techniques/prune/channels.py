"""Structured pruning: channels that count little are taken out of the graph, which gets smaller and faster by it."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique
from shoal_compression.trainable.settings import Training

if TYPE_CHECKING:
    from shoal_compression.channels.groups import Channels, Group
    from shoal_compression.channels.importance import Scores
    from shoal_compression.trainable.network import Network

_HALVINGS = 24


class PruneChannels(Technique):
    """Take whole channels of convolutions and dense layers away, with all that depends on them, and train what is left.

    Channels that are added up, joined, or run through a depthwise convolution go together. The model as it was is the
    teacher. Channels that reach an output, or an operator whose effect on them is not known, stay.
    """

    technique: Literal["prune-channels"] = "prune-channels"
    ratio: float = Field(default=0.5, ge=0, lt=1)
    """Share of the channels to take away, of each group; unused with `operations`."""
    operations: float | None = Field(default=None, gt=0, le=1)
    """Share of the multiplications to keep; the ratio is searched that gives it."""
    importance: Literal["l1", "l2", "taylor"] = "taylor"
    scope: Literal["layer", "network"] = "layer"
    """Whether each layer loses the same share, or the least important channels of the whole network go."""
    multiple_of: int = Field(default=8, ge=1, le=64)
    """Channels are left in multiples of it, where a layer has twice as many: processors work on so many at a time."""
    least: float = Field(default=0.1, ge=0, le=1)
    """Share of the channels that every group keeps at least."""
    steps: int = Field(default=1, ge=1, le=20)
    """In so many steps, with training after each."""
    training: Training = Training(epochs=8)
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    trains: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "torch")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the smaller model.

        Raises:
            TechniqueError: It has operators that are not trained here, or no channels that can go.
        """
        from shoal_compression.trainable.network import repeatable
        from shoal_compression.trainable.retraining import retrained

        made = model
        with repeatable(budget.seed, budget.threads):
            for step in range(self.steps):
                made = self._cut(made, model, data, budget, (step + 1) / self.steps)
                is_last = step == self.steps - 1
                epochs = self.training.epochs if is_last else -(-self.training.epochs // (2 * self.steps))
                training = self.training.model_copy(update={"epochs": epochs})
                made = retrained(made, (model,), data, training, budget, progress, f"{self.name} {step + 1}")
        return made

    def _cut(self, made: Model, source: Model, data: Data, budget: Budget, share: float) -> Model:
        from shoal_compression.channels.cutting import cut
        from shoal_compression.channels.groups import channels_of
        from shoal_compression.channels.operations import operations
        from shoal_compression.channels.row_counts import check_rows
        from shoal_compression.trainable.graph import weights_of
        from shoal_compression.trainable.network import Network

        network = Network(made, budget.accelerator)
        channels = channels_of(network, made, data.calibration)
        if not channels.groups:
            msg = f"applying {self.name}: the graph has no channels that can go"
            raise TechniqueError(
                f"{msg}: each one reaches an output or an operator that needs all; leave this step out"
            )
        scores = self._scores(network, made, source, data, budget, channels)
        if self.operations is None:
            gone = self._gone(channels, scores, 1 - (1 - self.ratio) ** (1 / self.steps))
        else:
            first = operations(channels)
            if made is not source:
                whole = channels_of(Network(source), source, data.calibration)
                first = operations(whole)
            gone = self._for_operations(channels, scores, first * self.operations**share)
        weights = {name: value for name, value in weights_of(channels.proto).items() if name in channels.weights}
        smaller = made.with_content(cut(channels, weights, gone).SerializeToString(deterministic=True))
        check_rows(smaller, made, data.calibration)
        return smaller

    def _scores(
        self, network: "Network", made: Model, source: Model, data: Data, budget: Budget, channels: "Channels"
    ) -> list["Scores"]:
        from shoal_compression.channels.importance import by_size, by_taylor
        from shoal_compression.trainable.fitting import training_samples
        from shoal_compression.trainable.objective import objective_of

        if self.importance == "taylor":
            samples = training_samples(data, self.training, budget.seed).first(512)
            objective = objective_of(network, made, samples, (source,), self.training, budget.threads)
            by_group = by_taylor(network, made, objective, channels, budget.seed)
            return [by_group[group.parts] for group in channels.groups]
        from shoal_compression.trainable.graph import weights_of

        weights, order = weights_of(channels.proto), 1 if self.importance == "l1" else 2
        return [by_size(channels, group, weights, order) for group in channels.groups]

    def _for_operations(self, channels: "Channels", scores: list["Scores"], most: float) -> set[int]:
        """Return the smallest set of channels without which at most so many operations are left."""
        from shoal_compression.channels.operations import operations

        low, high = 0.0, 1.0
        gone = self._gone(channels, scores, high)
        if operations(channels, gone) > most:
            found = f"{operations(channels, gone) / operations(channels):.2f} of its operations stay at least"
            raise TechniqueError(
                f"applying {self.name}: {found}, {self.operations} asked for; ask for more, or set least"
            )
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            tried = self._gone(channels, scores, middle)
            if operations(channels, tried) <= most:
                high, gone = middle, tried
            else:
                low = middle
        return gone

    def _gone(self, channels: "Channels", scores: list["Scores"], ratio: float) -> set[int]:
        if self.scope == "network":
            bound = float(np.quantile(np.concatenate(scores), ratio))
            kept = [int((score > bound).sum()) for score in scores]
        else:
            kept = [round(len(score) * (1 - ratio)) for score in scores]
        gone: set[int] = set()
        for group, score, count in zip(channels.groups, scores, kept, strict=True):
            order = group.channels[np.argsort(-score, kind="stable")]
            gone.update(int(one) for one in order[self._count(group, count) :])
        return gone

    def _count(self, group: "Group", wanted: int) -> int:
        """Return how many channels a group keeps: as many as wanted, in multiples, and never none."""
        whole = len(group.channels)
        count = max(wanted, int(np.ceil(self.least * whole)), 1)
        if whole >= 2 * self.multiple_of:
            count = max(self.multiple_of, round(count / self.multiple_of) * self.multiple_of)
        return min(count, whole)
