"""How often a version is right on its held-out data, by how sure it is: what estimates without labels rest on."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoal_contract.manifest import Baseline
from shoal_contract.performance import ConfidenceCalibration
from shoal_numerics import Histogram, HistogramEdges

LABELS = "y"
"""The array of true labels in an `.npz` of samples."""


def labels_of(path: Path, samples: int, classes: int) -> NDArray[np.int64] | None:
    """Return the true labels of held-out samples; None where the file has none, or not one below `classes` for each.

    Args:
        path: An `.npz`, which has been checked.
        samples: How many the model has answered, the first ones.
        classes: Labels that it knows.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            labels = archive[LABELS]
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile):
        return None
    if labels.ndim != 1 or labels.dtype.kind not in "iub" or not 0 < samples <= len(labels):
        return None
    found: NDArray[np.int64] = labels[:samples].astype(np.int64)
    return found if ((found >= 0) & (found < classes)).all() else None


def calibration_of(
    baseline: Baseline, scores: NDArray[np.float32], labels: NDArray[np.int64] | None
) -> ConfidenceCalibration | None:
    """Return how often answers were right by their confidence; None without labels.

    Args:
        baseline: Whose bins of confidence are counted over.
        scores: (n, classes) float32 of the held-out samples.
        labels: (n,) int64.
    """
    if labels is None:
        return None
    edges = HistogramEdges.from_lists([baseline.confidence.edges])
    sure, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    answered, correct = (tuple(Histogram.of(edges, part).of_feature(0).tolist()) for part in (sure, sure[right]))
    return ConfidenceCalibration(answered=answered, right=correct)
