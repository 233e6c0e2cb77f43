"""Reads samples from `.npz` files: an array for each input by its name (`x` for the only one), labels `y`, slices."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.errors import DataError
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import NUMPY_TYPES

ONLY_INPUT: Final = "x"
LABELS: Final = "y"
SLICE: Final = "slice/"
"""How the names of arrays begin that say which slice a sample belongs to."""


def read_samples(path: Path, inputs: Sequence[TensorSpec]) -> Samples:
    """Read samples; numbers are brought to the datatypes of the inputs.

    Raises:
        DataError: The file is missing or no `.npz`, or lacks an input.
    """
    doing = f"reading samples from {path}"
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{doing}: {error}; write it with numpy.savez, an array for each input") from error
    keys = {one.name: ONLY_INPUT if one.name not in arrays and len(inputs) == 1 else one.name for one in inputs}
    missing = sorted(key for key in keys.values() if key not in arrays)
    if missing:
        found = f"arrays {', '.join(sorted(arrays)) or 'none'} found, {', '.join(missing)} missing"
        raise DataError(f"{doing}: {found}; name an array for each input {sorted(keys)}, and labels {LABELS!r}")
    for one in inputs:
        if arrays[keys[one.name]].dtype.kind not in "fiub":
            raise DataError(f"{doing}: {keys[one.name]} is {arrays[keys[one.name]].dtype}, expected numbers")
    slices = {name.removeprefix(SLICE): array for name, array in arrays.items() if name.startswith(SLICE)}
    return Samples(
        {one.name: arrays[keys[one.name]].astype(NUMPY_TYPES[one.datatype]) for one in inputs},
        arrays.get(LABELS),
        slices,
    )


def halves(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    """Return the samples in two parts that share none, drawn by the seed: to learn from, and to hold out.

    Raises:
        DataError: There are fewer than two.
    """
    if len(samples) < 2:  # noqa: PLR2004 - one for each part
        raise DataError("holding out half of the samples: 1 sample found, expected 2 or more; give more")
    order = np.random.default_rng(seed).permutation(len(samples))
    middle = len(samples) // 2
    return samples.at(np.sort(order[:middle])), samples.at(np.sort(order[middle:]))
