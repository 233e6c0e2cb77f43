"""Reads samples from `.npz` files: an array for each input by its name (`x` for the only one), labels `y`, slices."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from shoal_compression.data import Samples
from shoal_compression.errors import DataError
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import NUMPY_TYPES, Array

ONLY_INPUT: Final = "x"
LABELS: Final = "y"
SLICE: Final = "slice/"
"""How the names of arrays begin that say which slice a sample belongs to."""
_WRITE: Final = "numpy.savez, an array for each input"
_ZIP: Final = b"PK"
_NPY: Final = b"\x93NUMPY"


def read_samples(path: Path, inputs: Sequence[TensorSpec]) -> Samples:
    """Read samples; numbers are brought to the datatypes of the inputs, texts become `str`.

    Raises:
        DataError: The file is missing, damaged or no `.npz`, lacks an input, or has numbers for an input of integers
            that are none.
    """
    doing = f"reading samples from {path}"
    arrays = _arrays(path, doing)
    keys = {one.name: ONLY_INPUT if one.name not in arrays and len(inputs) == 1 else one.name for one in inputs}
    missing = sorted(key for key in keys.values() if key not in arrays)
    if missing:
        found = f"arrays {', '.join(sorted(arrays)) or 'none'} found, {', '.join(missing)} missing"
        raise DataError(f"{doing}: {found}; name an array for each input {sorted(keys)}, and labels {LABELS!r}")
    return Samples(
        {one.name: _typed(arrays[keys[one.name]], one, f"{doing}: {keys[one.name]}") for one in inputs},
        arrays.get(LABELS),
        {name.removeprefix(SLICE): array for name, array in arrays.items() if name.startswith(SLICE)},
    )


def _arrays(path: Path, doing: str) -> dict[str, Array]:
    try:
        with path.open("rb") as file:
            begins = file.read(len(_NPY))
            file.seek(0)
            return _unpacked(file, begins, doing)
    except OSError as error:
        raise DataError(f"{doing}: {error}; write it with {_WRITE}") from error


def _unpacked(file: BinaryIO, begins: bytes, doing: str) -> dict[str, Array]:
    if not begins.startswith(_ZIP):
        other = f"a file that begins with {begins!r}" if begins else "an empty file"
        found = "a single array (.npy)" if begins == _NPY else other
        raise DataError(f"{doing}: {found} found, expected an .npz; write it with {_WRITE}")
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, zlib and NumPy have errors of their own for what is damaged
        what = "objects are in it" if "allow_pickle" in str(error) else f"it is damaged: {error}"
        raise DataError(f"{doing}: {what}; write it again with {_WRITE}, of numbers and names alone") from error


def _typed(array: Array, spec: TensorSpec, doing: str) -> Array:
    """Return numbers in the datatype of an input, floats rounded if need be and integers not; or texts as objects."""
    datatype = np.dtype(NUMPY_TYPES[spec.datatype])
    if spec.datatype == "BYTES":
        if array.dtype.kind != "U":
            raise DataError(f"{doing} is {array.dtype}, expected texts")
        return array.astype(datatype)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{doing} is {array.dtype}, expected numbers")
    with np.errstate(invalid="ignore", over="ignore"):  # what is not kept is told below, or when samples are checked
        typed = array.astype(datatype)
    if datatype.kind in "iub" and not np.array_equal(typed, array):
        place = np.unravel_index(int((typed != array).argmax()), array.shape)
        row = f" in sample {place[0]}" if place else ""
        found = f"{array[place]}{row} would become {typed[place]} as {datatype}"
        raise DataError(f"{doing}: {found}; prepare the samples as for a request, or round them yourself")
    return typed


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
