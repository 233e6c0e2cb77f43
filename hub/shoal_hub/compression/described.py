"""Finds the operators of files on this machine, as a board would run them: its own convolutions may be others."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from shoal_compression.errors import SourceError
from shoal_compression.predictor.operators import describe
from shoal_contract.manifest import TensorSpec
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_numerics.operator_profile import Operator
from shoal_numerics.tensors import NUMPY_TYPES, Array

log = logging.getLogger(__name__)


@dataclass
class Describer:
    """Runs each file once for each sort of board.

    Attributes:
        artifacts: Where files are.
    """

    artifacts: ArtifactStore
    _known: dict[tuple[str, bool], tuple[Operator, ...]] = field(default_factory=dict, init=False)

    def operators(self, sha256: str, feeds: Mapping[str, Array], *, is_blocked: bool) -> tuple[Operator, ...]:
        """Return the operators of a file, see `describe`.

        Raises:
            SourceError: It does not run here, or the profiler tells nothing of it.
        """
        key = (sha256, is_blocked)
        if key not in self._known:
            self._known[key] = describe(self.artifacts.read(sha256), feeds, is_blocked=is_blocked)
        return self._known[key]

    def again(self, sha256: str, inputs: tuple[TensorSpec, ...], *, is_blocked: bool) -> tuple[Operator, ...] | None:
        """Return the operators of a file of an earlier benchmark; None where it is gone, or can not be run."""
        feeds = zeros(inputs)
        if feeds is None or not self.artifacts.has(sha256):
            return None
        try:
            return self.operators(sha256, feeds, is_blocked=is_blocked)
        except SourceError as error:
            log.warning("file %s of an earlier benchmark: %s; its device's word is taken", sha256[:12], error)
            return None


def zeros(inputs: tuple[TensorSpec, ...]) -> dict[str, Array] | None:
    """Return a request of one sample of zeros; None where a size is open besides the batch, or an input takes texts."""
    shapes = {spec.name: (1, *spec.shape[1:]) if spec.shape[:1] == (-1,) else tuple(spec.shape) for spec in inputs}
    if any(spec.datatype == "BYTES" for spec in inputs) or any(-1 in shape for shape in shapes.values()):
        return None
    return {spec.name: np.zeros(shapes[spec.name], NUMPY_TYPES[spec.datatype]) for spec in inputs}
