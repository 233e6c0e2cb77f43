"""A network in training by Keras 3 on TensorFlow: one step, or a part of it, at a time."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from shoal_training.frameworks.engine import Engine, LossSum, Processes
from shoal_training.frameworks.network_trainer import NetworkTrainer
from shoal_training.frameworks.trainer import Samples
from shoal_training.onnx_samples import Array
from shoal_training.tensorflow_runtime import load_keras, load_tensorflow

_MEASURED_AT_ONCE: Final = 1024


class KerasEngine(Engine):
    """See `Engine`.

    Args:
        network: A keras.Model to (n, outputs).
        trainer: Says how it is trained.
        learned: Samples to learn from.
        measured: Samples by name, to measure on.
        seed: Of the order.
        is_scaled: Whether losses are scaled, as float16 needs it.
    """

    def __init__(
        self,
        network: Any,  # noqa: ANN401 - Keras has no types
        trainer: NetworkTrainer,
        learned: Samples,
        measured: Mapping[str, Samples],
        seed: int,
        *,
        is_scaled: bool,
    ) -> None:
        self.processes = Processes()
        self.network, self._trainer, self._seed = network, trainer, seed
        self._learned, self._measured = learned, measured
        self._is_classes = learned.y is not None and learned.y.dtype.kind in "iu"
        self._optimizer = _optimizer(trainer, is_scaled=is_scaled)
        self._optimizer.build(network.trainable_variables)
        self._tf = tf = load_tensorflow()
        rows = [
            tf.TensorSpec([None, *learned.x.shape[1:]], tf.float32),
            tf.TensorSpec([None], tf.int64 if self._is_classes else tf.float32),
            tf.TensorSpec([None], tf.float32),
        ]
        whole = [*rows, tf.TensorSpec([], tf.float32)]
        self._gradients = tf.function(self._computed, input_signature=whole, autograph=False)
        self._whole_step = tf.function(self._stepped, input_signature=whole, autograph=False)
        self._move = tf.function(
            lambda gradients: self._optimizer.apply(gradients, network.trainable_variables), autograph=False
        )
        self._judge = tf.function(self._judged, input_signature=rows, autograph=False)
        self._total, self._weight = tf.Variable(0.0), 0.0

    def order(self, epoch: int) -> Array:
        """See `Engine`."""
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._learned))

    def begin(self, epoch: int, step: int) -> None:
        """See `Engine`: the layers that draw keep where they are among their variables, and so in the state."""

    def step(self, rows: Array, rate: float) -> None:
        """See `Engine`."""
        self._optimizer.learning_rate = rate
        size = self._trainer.batch
        weight = self._learned.weight
        total = float(len(rows)) if weight is None else float(weight[rows].sum())
        if len(rows) <= size:
            self._whole_step(*self._given(self._learned, rows), total)
        else:
            summed: list[Any] = []
            for first in range(0, len(rows), size):
                found = self._gradients(*self._given(self._learned, rows[first : first + size]), total)
                summed = [a + b for a, b in zip(summed, found, strict=True)] if summed else list(found)
            self._move(summed)
        self._weight += total

    def loss(self) -> LossSum:
        """See `Engine`."""
        found = LossSum(float(self._total.numpy()), self._weight)
        self._total.assign(0.0)
        self._weight = 0.0
        return found

    def measured(self, name: str) -> dict[str, float]:
        """See `Engine`."""
        samples = self._measured[name]
        sums = [0.0, 0.0, 0.0]
        for first in range(0, len(samples), _MEASURED_AT_ONCE):
            rows = np.arange(first, min(first + _MEASURED_AT_ONCE, len(samples)))
            judged = self._judge(*self._given(samples, rows))
            sums = [before + float(one) for before, one in zip(sums, judged, strict=True)]
        told = {"loss": LossSum(sums[0], sums[1]).mean}
        return told | ({"accuracy": sums[2] / len(samples)} if self._is_classes else {})

    def weights(self) -> dict[str, Array]:
        """See `Engine`."""
        return _arrays("network", self.network.variables)

    def set_weights(self, weights: dict[str, Array]) -> None:
        """See `Engine`."""
        _assign("network", self.network.variables, weights)

    def state(self) -> dict[str, Array]:
        """See `Engine`."""
        return self.weights() | _arrays("optimizer", self._optimizer.variables)

    def set_state(self, state: dict[str, Array]) -> None:
        """See `Engine`."""
        self.set_weights(state)
        _assign("optimizer", self._optimizer.variables, state)

    def _given(self, samples: Samples, rows: Array) -> tuple[Array, Array | None, Array]:
        weight = np.ones(len(rows), dtype=np.float32) if samples.weight is None else samples.weight[rows]
        return samples.x[rows], None if samples.y is None else samples.y[rows], weight

    def _stepped(self, x: Any, y: Any, weight: Any, total: Any) -> None:  # noqa: ANN401 - tensors
        self._optimizer.apply(self._computed(x, y, weight, total), self.network.trainable_variables)

    def _computed(self, x: Any, y: Any, weight: Any, total: Any) -> list[Any]:  # noqa: ANN401 - tensors
        """Return the gradients of the loss over these rows, as a part of those of a step."""
        tf = self._tf
        with tf.GradientTape() as tape:
            found = self.network(x, training=True)
            loss = tf.reduce_sum(self._losses(found, y) * weight)
            extra = sum(self.network.losses) if self.network.losses else 0.0  # what layers of one's own add
            scaled = self._optimizer.scale_loss(loss / total + extra * tf.reduce_sum(weight) / total)
        self._total.assign_add(loss)
        return list(tape.gradient(scaled, self.network.trainable_variables))

    def _judged(self, x: Any, y: Any, weight: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401 - tensors
        tf = self._tf
        found = self.network(x, training=False)
        right = tf.cast(tf.argmax(found, axis=1), y.dtype) == y
        return (
            tf.reduce_sum(self._losses(found, y) * weight),
            tf.reduce_sum(weight),
            tf.reduce_sum(tf.cast(right, tf.float32)),
        )

    def _losses(self, found: Any, y: Any) -> Any:  # noqa: ANN401 - tensors
        """Return the loss of each row, (n,)."""
        tf = self._tf
        found = tf.cast(found, tf.float32)
        if not self._is_classes:
            gap = found[:, 0] - y
            kind = self._trainer.regression_loss
            if kind == "squared":
                return tf.square(gap)
            size = tf.abs(gap)
            return size if kind == "absolute" else tf.where(size < 1.0, 0.5 * tf.square(gap), size - 0.5)
        smoothing = self._trainer.label_smoothing
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, found)
        if not smoothing:
            return losses
        return (1.0 - smoothing) * losses - smoothing * tf.reduce_mean(tf.nn.log_softmax(found), axis=1)


def _optimizer(trainer: NetworkTrainer, *, is_scaled: bool) -> Any:  # noqa: ANN401 - Keras has no types
    optimizers, settings = load_keras().optimizers, trainer.optimizer
    rate: dict[str, Any] = {"learning_rate": settings.learning_rate, "global_clipnorm": trainer.clip_norm}
    match settings.name:
        case "adamw":
            made = optimizers.AdamW(weight_decay=settings.weight_decay, **rate)
        case "adam":
            made = optimizers.Adam(**rate)
        case "sgd":
            made = optimizers.SGD(momentum=settings.momentum, **rate)
        case _:
            made = optimizers.RMSprop(**rate)
    return optimizers.LossScaleOptimizer(made) if is_scaled else made


def _arrays(prefix: str, variables: list[Any]) -> dict[str, Array]:
    return {f"{prefix}.{at}": np.array(one.numpy()) for at, one in enumerate(variables)}


def _assign(prefix: str, variables: list[Any], arrays: dict[str, Array]) -> None:
    for at, one in enumerate(variables):
        one.assign(arrays[f"{prefix}.{at}"])
