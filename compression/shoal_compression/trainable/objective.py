"""What a network is trained towards: labels, teachers' answers, or both, with a hint from inside of a teacher."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it

from shoal_compression.data import Samples
from shoal_compression.errors import DataError
from shoal_compression.model import Model
from shoal_compression.running import outputs_of
from shoal_compression.trainable.head import Head, head_of, logits_of
from shoal_compression.trainable.network import Network
from shoal_compression.trainable.settings import Training


@dataclass(frozen=True)
class Objective:
    """Samples with what is to be answered to each."""

    head: Head
    samples: Samples
    labels: torch.Tensor | None
    """(n,) classes, or (n, ...) values."""
    logits: tuple[torch.Tensor, ...]
    """Of each teacher (n, ...)."""
    training: Training

    def loss(self, answers: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of what the network says to the samples at `rows`, (k,) int64."""
        parts: list[tuple[float, torch.Tensor]] = []
        if self.labels is not None:
            parts.append((self.training.hard, self._hard(answers, self.labels[rows].to(answers.device))))
        for logits in self.logits:
            share = self.training.soft / len(self.logits)
            parts.append((share, self._soft(answers, logits[rows].to(answers.device))))
        whole = sum(weight for weight, _ in parts)
        weighted = [weight / whole * part for weight, part in parts if weight > 0]
        return torch.stack(weighted).sum()

    def _hard(self, answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if self.head.task == "classes":
            return F.cross_entropy(answers.reshape(-1, answers.shape[-1]), labels.reshape(-1))
        if self.head.task == "binary":
            return F.binary_cross_entropy_with_logits(answers, labels.reshape(answers.shape).to(answers.dtype))
        return F.mse_loss(answers, labels.reshape(answers.shape).to(answers.dtype))

    def _soft(self, answers: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        heat = self.training.temperature
        logits = logits.reshape(answers.shape)
        if self.head.task == "classes":
            student = F.log_softmax(answers / heat, dim=-1).reshape(-1, answers.shape[-1])
            teacher = F.log_softmax(logits / heat, dim=-1).reshape(-1, answers.shape[-1])
            return heat**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        if self.head.task == "binary":
            return heat**2 * F.binary_cross_entropy_with_logits(answers / heat, torch.sigmoid(logits / heat))
        return F.mse_loss(answers, logits)


def objective_of(
    network: Network, model: Model, samples: Samples, teachers: Sequence[Model], training: Training, threads: int
) -> Objective:
    """Return the objective of a network: labels where the samples have them, and what the teachers say to them.

    Raises:
        DataError: There is neither, the labels do not fit, or a teacher answers in another shape.
    """
    said = [outputs_of(teacher, samples, threads) for teacher in teachers]
    floats = [name for spec in model.outputs if (name := spec.name) in (said[0] if said else ())]
    first = next((said[0][name] for name in floats if said[0][name].dtype == np.float32), None)
    head = head_of(model, network.proto, samples, first)
    logits = []
    for teacher, answers in zip(teachers, said, strict=True):
        given = answers.get(head.output, next(iter(answers.values())))
        if head.output not in answers and len(answers) > 1:
            found = f"a teacher with the outputs {sorted(answers)} found, expected {head.output}"
            raise DataError(f"learning from a teacher: {found}; give teachers that are called as the model is")
        expected = next(spec.shape for spec in model.outputs if spec.name == head.output)
        if tuple(given.shape[1:]) != (tuple(expected[1:]) if model.is_batched else tuple(expected)):
            found = f"answers of {list(given.shape[1:])} by {teacher.sha256[:12]} found, expected {list(expected)}"
            raise DataError(f"learning from a teacher: {found}; give teachers of the same task")
        logits.append(torch.from_numpy(logits_of(given, head.task).astype(np.float32)))
    labels = None if samples.labels is None or training.hard == 0 else _labels(samples, head, model)
    if labels is None and (not logits or training.soft == 0):
        found = "neither labels nor a teacher found that count"
        raise DataError(f"training: {found}; give `train` labels, or let `soft` be above 0")
    return Objective(head, samples, labels, tuple(logits), training)


def _labels(samples: Samples, head: Head, model: Model) -> torch.Tensor:
    labels = np.asarray(samples.labels)
    if head.task != "classes":
        return torch.from_numpy(labels.astype(np.float32))
    classes = next(spec.shape[-1] for spec in model.outputs if spec.name == head.output)
    if labels.dtype.kind not in "iub":
        found = f"labels of {labels.dtype} found, expected whole numbers"
        raise DataError(f"training a network that names classes: {found}; give classes as labels")
    if labels.min() < 0 or (classes > 0 and labels.max() >= classes):
        found = f"labels {int(labels.min())} to {int(labels.max())} found, expected 0 to {classes - 1}"
        raise DataError(f"training a network that names classes: {found}; number the classes as the outputs are")
    return torch.from_numpy(labels.astype(np.int64))
