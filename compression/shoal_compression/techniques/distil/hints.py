"""Hints from inside of a teacher: a student's tensor, seen through a trained projection, is to be the teacher's."""

from collections.abc import Sequence

import numpy as np
import torch

from shoal_compression.data import Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.trainable.batches import run_rows
from shoal_compression.trainable.network import Network
from shoal_numerics.tensors import Array

_ROWS = 64
"""Samples that a projection is first fitted to."""


class Hints:
    """Pairs of tensors, each with a projection of the student's channels onto the teacher's.

    A projection begins as the one of least squares, so that the student learns from the first step on.

    Channels are the second axis, (n, channels, ...).

    Raises:
        TechniqueError: A name is in neither graph, the teacher is not ONNX, or other axes than channels differ.
    """

    def __init__(
        self,
        network: Network,
        model: Model,
        teacher: Model,
        samples: Samples,
        pairs: Sequence[tuple[str, str, float]],
    ) -> None:
        if teacher.form != "onnx":
            found = f"a teacher as {teacher.form} found, expected onnx"
            raise TechniqueError(f"taking hints of a teacher: {found}; leave the hints out, or convert the teacher")
        self._network, self._model, self._samples, self._pairs = network, model, samples, pairs
        self._teacher, self._teacher_model = Network(teacher), teacher
        self._projections = [self._projection(*pair[:2]) for pair in pairs]

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """What is trained beside the student, and thrown away with this."""
        return self._projections

    def loss(self, rows: Array) -> torch.Tensor:
        """Return how far the student's tensors are from the teacher's, in shares of their variance."""
        students, teachers = self._tensors(rows)
        parts = []
        for (student, teacher, weight), projection in zip(self._pairs, self._projections, strict=True):
            wanted = teachers[teacher].to(students[student].device)
            seen = torch.einsum("nc...,cd->nd...", students[student], projection)
            parts.append(weight * ((seen - wanted) ** 2).mean() / wanted.var().clamp_min(1e-6))
        return torch.stack(parts).sum()

    def _tensors(self, rows: Array) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        students = run_rows(self._network, self._model, self._samples, rows, [one[0] for one in self._pairs])
        with torch.no_grad():
            taps = [one[1] for one in self._pairs]
            return students, run_rows(self._teacher, self._teacher_model, self._samples, rows, taps)

    def _projection(self, student: str, teacher: str) -> torch.nn.Parameter:
        rows = np.arange(min(_ROWS, len(self._samples)))
        one = run_rows(self._network, self._model, self._samples, rows, [student])[student]
        other = run_rows(self._teacher, self._teacher_model, self._samples, rows, [teacher])[teacher]
        if one.ndim < 2 or one.ndim != other.ndim or one.shape[2:] != other.shape[2:]:  # noqa: PLR2004 - (n, channels)
            found = f"{student} {list(one.shape)} and {teacher} {list(other.shape)} found"
            raise TechniqueError(f"taking hints of a teacher: {found}; name tensors that differ in channels alone")
        seen, wanted = (each.detach().cpu().movedim(1, -1).reshape(-1, each.shape[1]) for each in (one, other))
        start = torch.linalg.lstsq(seen, wanted, driver="gelsd").solution
        return torch.nn.Parameter(start.to(one.device))
