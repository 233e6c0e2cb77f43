"""The training child: `python -m shoal_agent.federated.child JOB.json PARENT`, a process of its own with limits.

Runs the LiteRT trainer's signatures (`train`, `get_weights`, `set_weights`): plain SGD on the device's own
examples, from the round's weights. Only the coded difference of the weights is written.
"""

import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from shoal_agent.child_process import bound, end_with
from shoal_agent.durable import replace_file
from shoal_agent.federated.dataset import DatasetError, read_examples
from shoal_agent.federated.job import TrainingJob, TrainingResult
from shoal_contract.formats import RUNTIME_LIMITS, DeviceFormat, FormatError, check_device_file
from shoal_numerics.errors import NumericsError
from shoal_numerics.update_coding import encode_update

Weights = list[NDArray[np.float32]]
_LOSS_BATCHES = 16
Examples = tuple[NDArray[np.float32], NDArray[np.int32]]


class TrainingError(Exception):
    """The round can not be trained on this device; the text goes to the hub."""


def train(job: TrainingJob) -> TrainingResult:
    """Train one round and write the coded update.

    Raises:
        TrainingError: Trainer, weights, data and settings do not fit together, or training diverged.
    """
    started_s, random = time.monotonic(), np.random.default_rng(job.seed)
    trainer = LiteRtTrainer(job.trainer)
    base = _read_weights(job.weights)
    x, y = read_examples(job.dataset)
    x, y = x[: job.max_examples], y[: job.max_examples]
    trainer.check(x, y, job.batch_size)
    trainer.set_weights(base)
    loss_before = _loss(trainer, (x, y), job)
    trainer.set_weights(base)
    for _ in range(job.epochs):
        _epoch(trainer, (x, y), job, random)
    weights = trainer.get_weights()
    loss_after = _loss(trainer, (x, y), job)
    update = encode_update(weights, base, job.update_scheme, rounding_seed=job.seed)
    if len(update) > job.max_update_bytes:
        raise TrainingError(f"coding the update: {len(update)} bytes, the round allows {job.max_update_bytes}")
    replace_file(job.update, update)
    return TrainingResult(
        examples=len(y),
        loss_before=loss_before,
        loss_after=loss_after,
        duration_s=time.monotonic() - started_s,
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


class LiteRtTrainer:
    """A `.tflite` file with the signatures train, get_weights and set_weights.

    Raises:
        TrainingError: It does not load or lacks a signature.
    """

    def __init__(self, path: Path) -> None:
        _check_file(path, "tflite", "loading the trainer")
        try:
            self._interpreter = _interpreter(path)
            self._train = self._interpreter.get_signature_runner("train")
            self._get = self._interpreter.get_signature_runner("get_weights")
            self._set = self._interpreter.get_signature_runner("set_weights")
        except (ValueError, RuntimeError, ImportError) as error:
            raise TrainingError(f"loading the trainer: {error}") from error

    def check(self, x: NDArray[np.float32], y: NDArray[np.int32], batch_size: int) -> None:
        """Hold examples (n, …), labels and the round's batch size against the trainer's fixed batch and classes."""
        inputs = self._train.get_input_details()
        if set(inputs) != {"x", "y", "lr"}:
            raise TrainingError(f"checking the trainer: train takes {', '.join(sorted(inputs))}, expected lr, x, y")
        expected = tuple(int(size) for size in inputs["x"]["shape"])
        if (batch_size, *x.shape[1:]) != expected:
            message = f"examples of shape {x.shape[1:]} in batches of {batch_size}; the trainer takes {expected}"
            raise TrainingError(f"checking the data: {message}")
        classes = self._classes()
        if classes is not None and int(y.max()) >= classes:
            message = f"label {int(y.max())} found; the trainer has the labels 0 to {classes - 1}"
            raise TrainingError(f"checking the data: {message}")

    def _classes(self) -> int | None:
        """Return how many labels the trainer tells apart, if it says so; it would pass over any other label."""
        if "infer" not in self._interpreter.get_signature_list():
            return None
        outputs = self._interpreter.get_signature_runner("infer").get_output_details()
        return int(outputs["probabilities"]["shape"][-1]) if "probabilities" in outputs else None

    def set_weights(self, weights: Weights) -> None:
        """Start from the round's weights."""
        expected = [tuple(map(int, details["shape"])) for _, details in sorted(self._set.get_input_details().items())]
        found = [tensor.shape for tensor in weights]
        if found != expected:  # the runtime would take them and go on with other shapes
            raise TrainingError(f"setting the weights: tensors of shapes {found} found, {expected} expected")
        try:
            self._set(**{_key(index): tensor for index, tensor in enumerate(weights)})
        except (ValueError, RuntimeError) as error:
            raise TrainingError(f"setting the weights: {error}") from error

    def get_weights(self) -> Weights:
        """Return the present weights, float32 tensors in their fixed order."""
        tensors = self._get()
        return [np.asarray(tensors[key], dtype=np.float32) for key in sorted(tensors)]

    def step(self, x: NDArray[np.float32], y: NDArray[np.int32], learning_rate: float) -> float:
        """Do one step of SGD on a full batch; return the loss before it."""
        try:
            return float(self._train(x=x, y=y, lr=np.float32(learning_rate))["loss"])
        except (ValueError, RuntimeError, KeyError) as error:
            raise TrainingError(f"training a batch: {error}") from error


def _epoch(trainer: LiteRtTrainer, examples: Examples, job: TrainingJob, random: np.random.Generator) -> None:
    """Train on every example once, in a new order."""
    for x, y, _ in _batches(examples, random.permutation(len(examples[1])), job.batch_size):
        _check_loss(trainer.step(x, y, job.learning_rate))


def _loss(trainer: LiteRtTrainer, examples: Examples, job: TrainingJob) -> float:
    """Return the mean loss of the first examples: steps at rate 0, so bounded to cost less than an epoch."""
    order = np.arange(min(len(examples[1]), _LOSS_BATCHES * job.batch_size))
    losses = [(trainer.step(x, y, 0.0), count) for x, y, count in _batches(examples, order, job.batch_size)]
    return _check_loss(sum(loss * count for loss, count in losses) / len(order))


def _check_loss(loss: float) -> float:
    if not np.isfinite(loss):
        raise TrainingError(f"training diverged: loss {loss}; lower the learning rate")
    return loss


def _batches(
    examples: Examples, order: NDArray[np.int64], batch_size: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32], int]]:
    """Yield full batches; label -1 fills the last one and counts for nothing."""
    x, y = examples
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch_x = np.zeros((batch_size, *x.shape[1:]), dtype=np.float32)
        batch_y = np.full(batch_size, -1, dtype=np.int32)
        batch_x[: len(chosen)], batch_y[: len(chosen)] = x[chosen], y[chosen]
        yield batch_x, batch_y, len(chosen)


def _check_file(path: Path, expected: DeviceFormat, doing: str) -> None:
    try:
        check_device_file(path.read_bytes(), expected, RUNTIME_LIMITS)
    except (FormatError, OSError) as error:
        raise TrainingError(f"{doing}: {error}") from error


def _read_weights(path: Path) -> Weights:
    _check_file(path, "safetensors", "reading the round's weights")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"reading the round's weights: {error}") from error
    return [np.asarray(tensors[key], dtype=np.float32) for key in sorted(tensors)]


def _key(index: int) -> str:
    return f"{index:03d}"


def _interpreter(path: Path) -> Any:  # noqa: ANN401 - the runtimes have no types
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tflite_runtime.interpreter import Interpreter
    return Interpreter(model_path=str(path), num_threads=1)


def _limit(job: TrainingJob) -> None:
    """Bound this process before anything from the network is read."""
    os.nice(job.nice)
    bound(resource.RLIMIT_CPU, job.max_cpu_s)
    bound(resource.RLIMIT_AS, job.max_memory_bytes)
    bound(resource.RLIMIT_CORE, 0)


def main(job_path: Path, parent_pid: int) -> None:
    """Train as the job file says and write the result file."""
    end_with(parent_pid)
    job = TrainingJob.model_validate_json(job_path.read_bytes())
    _limit(job)
    try:
        result = train(job)
    except (TrainingError, DatasetError, NumericsError, MemoryError) as error:
        result = TrainingResult(error=str(error) or type(error).__name__)
    replace_file(job.result, result.model_dump_json().encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
