"""A request's and an answer's arrays as rows, one a sample: what is counted, and what versions are compared by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from shoal_agent.engines import Array
from shoal_agent.serving.models import ServedModel
from shoal_numerics import STATISTICS, sample_statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray


def rows_of(served: ServedModel, inputs: Mapping[str, Array]) -> NDArray[np.float32]:
    """Return the features as (n, features) float32, of the inputs that are watched.

    No rows where they are text or not n times the baseline's. A request of a version without batches is one row.
    """
    manifest = served.manifest
    watched = manifest.baseline.inputs or [spec.name for spec in manifest.inputs]
    arrays = [inputs[name] if manifest.is_batched else inputs[name][np.newaxis] for name in watched]
    features = len(manifest.baseline.features)
    if any(array.dtype.kind == "O" for array in arrays):
        return np.empty((0, features), dtype=np.float32)
    if manifest.baseline.features_of == "statistics":
        return _statistics(arrays, features)
    samples, rest = divmod(sum(array.size for array in arrays), features)
    is_odd = samples == 0 or (samples > 1 and not manifest.is_batched)
    if rest or is_odd or any(array.size % samples for array in arrays):
        return np.empty((0, features), dtype=np.float32)
    with np.errstate(over="ignore"):
        flat = [array.reshape(samples, -1).astype(np.float32, copy=False) for array in arrays]
    return flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)


def _statistics(arrays: Sequence[Array], features: int) -> NDArray[np.float32]:
    samples = {len(array) if array.ndim else 0 for array in arrays}
    if len(samples) > 1 or 0 in samples or features != len(STATISTICS) * len(arrays):
        return np.empty((0, features), dtype=np.float32)
    return sample_statistics(arrays)


def embedded_rows(
    served: ServedModel, inputs: Mapping[str, Array], outputs: Mapping[str, Array], most: int
) -> NDArray[np.float32]:
    """Return what stands for the first samples in the version's embedding as (at most `most`, values) float32.

    No rows where nothing is embedded, or it is text or not one row a sample.
    """
    manifest, none = served.manifest, np.empty((0, 1), dtype=np.float32)
    embedding = manifest.baseline.embedding
    if embedding is None or most <= 0:
        return none
    watched = manifest.baseline.inputs or [spec.name for spec in manifest.inputs]
    whole = [outputs[embedding.output]] if embedding.output is not None else [inputs[name] for name in watched]
    arrays = whole if manifest.is_batched else [array[np.newaxis] for array in whole]
    samples = {len(array) if array.ndim else 0 for array in arrays}
    if len(samples) > 1 or 0 in samples or any(array.size == 0 or array.dtype.kind == "O" for array in arrays):
        return none
    with np.errstate(over="ignore"):
        flat = [array[:most].reshape(min(most, len(array)), -1).astype(np.float32, copy=False) for array in arrays]
    return flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)


def scores_of(served: ServedModel, outputs: Mapping[str, Array], samples: int) -> NDArray[np.float32]:
    """Return the first output as (n, classes) float32; no rows where the model gives no classes to choose from."""
    output = outputs[served.manifest.outputs[0].name]
    is_scored = samples > 0 and output.size > 0 and output.size % samples == 0 and output.dtype.kind != "O"
    if not is_scored or not served.manifest.baseline.predictions:
        return np.empty((0, 1), dtype=np.float32)
    with np.errstate(over="ignore"):
        scores: NDArray[np.float32] = output.reshape(samples, -1).astype(np.float32, copy=False)
    return scores


def numbers_of(served: ServedModel, outputs: Mapping[str, Array], samples: int) -> NDArray[np.float32]:
    """Return the first output as (n, 1) float32; no rows where it is not one number a sample."""
    output = outputs[served.manifest.outputs[0].name]
    if output.size != samples or output.dtype.kind != "f":
        return np.empty((0, 1), dtype=np.float32)
    with np.errstate(over="ignore"):
        numbers: NDArray[np.float32] = output.reshape(samples, 1).astype(np.float32, copy=False)
    return numbers
