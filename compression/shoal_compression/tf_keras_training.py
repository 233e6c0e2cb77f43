"""Trains a tf_keras network for some epochs within a budget: what pruning, clustering and quantization recover with."""

from typing import Any, Final

import numpy as np
from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data, Samples
from shoal_compression.errors import DataError
from shoal_compression.model import Model
from shoal_compression.quieting import quiet
from shoal_compression.running import outputs_of
from shoal_compression.technique import Progress
from shoal_compression.tensorflow_runtime import load_tf_keras
from shoal_compression.values import Value
from shoal_numerics.tensors import Array

SUM_TOLERANCE: Final = 1e-3
"""By how much the sum of a row of probabilities may differ from 1."""


class FineTuning(Value):
    """How a network is trained while or after it is compressed."""

    epochs: int = Field(default=3, ge=1, le=1_000)
    batch: int = Field(default=32, ge=1, le=65_536)
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """At the beginning; it falls to nothing by a cosine."""

    def steps(self, samples: Samples) -> int:
        """Return how many batches there are in all."""
        return self.epochs * -(-len(samples) // self.batch)


class Targets:
    """What the network is to answer, and the loss that says how far it is from that."""

    def __init__(self, model: Model, train: Samples, threads: int) -> None:
        """Take the labels; without any, the answers of `model`, of which only the training samples are used.

        Raises:
            DataError: The model has several outputs, or labels of a form that does not fit its output.
        """
        if len(model.outputs) != 1:
            found = f"{len(model.outputs)} outputs found, expected 1"
            raise DataError(f"training a Keras model: {found}; train a model with one, or use no training")
        [spec] = model.outputs
        asked = train if train.labels is None else train.first(64)
        answers = outputs_of(model, asked, threads)[spec.name]
        rows = answers.reshape(len(answers), -1)
        self.is_probability = bool((rows >= 0).all() and (rows <= 1).all())
        self.is_distribution = (
            self.is_probability and rows.shape[1] > 1 and bool(np.abs(rows.sum(axis=1) - 1).max() < SUM_TOLERANCE)
        )
        self.classes = rows.shape[1]
        self.values = answers if train.labels is None else train.labels
        self.is_soft = train.labels is None
        if not self.is_soft and self._is_class and self.classes > 1 and not self._fits():
            found = f"labels {self.values.shape} from {self.values.min()} to {self.values.max()} found"
            raise DataError(f"training a Keras model: {found}, expected ({len(train)},) of 0 to {self.classes - 1}")

    @property
    def _is_class(self) -> bool:
        return self.values.dtype.kind in "iub"

    def _fits(self) -> bool:
        return self.values.ndim == 1 and self.values.min() >= 0 and self.values.max() < self.classes

    def loss(self) -> Any:  # noqa: ANN401 - tf_keras has no types
        """Return cross entropy of classes and of distributions, squared error of all else."""
        losses = load_tf_keras().losses
        if self._is_class and self.classes > 1:
            return losses.SparseCategoricalCrossentropy(from_logits=not self.is_distribution)
        if self._is_class or (self.is_soft and self.is_probability and self.classes == 1):
            return losses.BinaryCrossentropy(from_logits=not self.is_probability)
        return losses.CategoricalCrossentropy() if self.is_soft and self.is_distribution else losses.MeanSquaredError()

    def of(self, rows: Array) -> Array:
        """Return the targets of some samples, as the loss takes them."""
        values = self.values[rows]
        return values.reshape(-1, 1).astype(np.float32) if self._is_class and self.classes == 1 else values


def fine_tune(
    network: Any,  # noqa: ANN401 - as above
    model: Model,
    data: Data,
    settings: FineTuning,
    budget: Budget,
    progress: Progress,
) -> int:
    """Train in place, in an order that the seed decides; return the steps that the time was enough for.

    Raises:
        DataError: The labels do not fit the model, or there are no samples.
    """
    tf_keras = load_tf_keras()
    train = data.train
    if train is None:
        raise DataError("training a Keras model: no samples to train on; give `train` with the data")
    targets = Targets(model, train, budget.threads)
    tf_keras.utils.set_random_seed(budget.seed)
    random = np.random.default_rng(budget.seed)
    total, done = settings.steps(train), 0
    with quiet():
        rate = tf_keras.optimizers.schedules.CosineDecay(settings.learning_rate, total)
        network.compile(tf_keras.optimizers.Adam(rate), loss=targets.loss())
        while done < total and budget.left_s > 0:
            order = random.permutation(len(train))
            # The last batch is filled up: of another size, the network would be traced a second time, for seconds.
            for rows in np.resize(order, (-(-len(order) // settings.batch), settings.batch)):
                if budget.left_s <= 0:
                    break
                progress("train", done, total)
                arrays = [train.inputs[spec.name][rows] for spec in model.inputs]
                network.train_on_batch(arrays[0] if len(arrays) == 1 else arrays, targets.of(rows))
                done += 1
    progress("train", total, total)
    return done
