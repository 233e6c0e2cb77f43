"""Held-out samples as devices get them: a safetensors file."""

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.verify import has_classes
from shoal_contract.benchmarks import INPUT_PREFIX, LABELS

MAX_BYTES = 32 * 1024 * 1024
"""Of the file; fewer samples go where they are large."""


def samples_file(samples: Samples, most: int) -> tuple[bytes, int]:
    """Return the first samples as a file, and how many there are."""
    from safetensors.numpy import save

    each = sum(array[:1].nbytes for array in samples.inputs.values()) or 1
    kept = samples.first(max(1, min(most, MAX_BYTES // each)))
    arrays = {f"{INPUT_PREFIX}{name}": np.ascontiguousarray(array) for name, array in kept.inputs.items()}
    if kept.labels is not None and has_classes(kept):
        arrays[LABELS] = np.ascontiguousarray(kept.labels.reshape(-1), np.int64)
    return save(arrays), len(kept)
