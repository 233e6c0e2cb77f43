"""The usual request, one sample of float32, taken as bytes: rows.py takes any other, which costs more than counting."""

import weakref
from collections.abc import Mapping
from typing import Final

import numpy as np

from shoal_agent.engines import Array
from shoal_agent.serving.models import ServedModel

_FLOAT32: Final = np.dtype(np.float32)


class SingleForm:
    """Where a version's features and scores are. Keeps no version in memory.

    Args:
        served: The version.
    """

    def __init__(self, served: ServedModel) -> None:
        manifest, baseline = served.manifest, served.manifest.baseline
        watched = baseline.inputs or tuple(spec.name for spec in manifest.inputs)
        is_plain = len(watched) == 1 and baseline.features_of is None
        self._served = weakref.ref(served)
        self._input = watched[0]
        self._row_bytes = len(baseline.features) * _FLOAT32.itemsize if is_plain else 0
        self._output = manifest.outputs[0].name if baseline.predictions else None

    def is_of(self, served: ServedModel) -> bool:
        """Whether this is the form of a version, that very object."""
        return self._served() is served

    def take(
        self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], score_bytes: int
    ) -> tuple[bytes | None, bytes]:
        """Return copies of a request's row and of its scores, which `rows_of` and `scores_of` would give as well.

        Args:
            inputs: The request's arrays by name.
            outputs: The answer's arrays by name.
            score_bytes: Of the scores that came before.

        Returns:
            Float32 as this machine has it. None for the row where this is not the usual request.
        """
        features = inputs[self._input]
        if features.nbytes != self._row_bytes or features.dtype is not _FLOAT32:
            return None, b""
        if self._output is None:
            return features.tobytes(), b""
        scores = outputs[self._output]
        if scores.nbytes != score_bytes or scores.dtype is not _FLOAT32 or not score_bytes:
            return None, b""
        return features.tobytes(), scores.tobytes()
