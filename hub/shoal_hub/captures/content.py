"""Looks into a sample that a device has sent, before anybody opens it: numbers that fit the model's inputs."""

import io
import math
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_hub.errors import InvalidInputError
from shoal_hub.registry.archives import check_npz
from shoal_numerics.tensors import NUMPY_TYPES

_DAMAGED: Final = (ValueError, OSError, KeyError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What reading an archive raises whose members are not what its directory says; `NotImplementedError` is among them."""


def why_no_sample(sample: bytes, inputs: Sequence[dict[str, Any]], max_unpacked_bytes: int, *, is_batched: bool) -> str:
    """Return why an `.npz` is no sample of a version, or nothing if it is one.

    Args:
        sample: The archive, of whatever origin.
        inputs: TensorSpec of each input of the version.
        max_unpacked_bytes: What its arrays may come to.
        is_batched: Whether a request may hold several samples.
    """
    try:
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            file.write(sample)
            file.flush()
            check_npz(Path(file.name), max_unpacked_bytes)
        with np.load(io.BytesIO(sample), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except InvalidInputError as error:
        return error.message.partition(": ")[2]
    except _DAMAGED as error:
        return f"it is no .npz: {error}"
    specs = {spec["name"]: spec for spec in inputs}
    if not arrays or not arrays.keys() <= specs.keys():
        return f"arrays {', '.join(sorted(arrays))[:100] or 'of none'} found, the model's inputs are {', '.join(specs)}"
    misfits = (_misfit(name, one, specs[name], is_batched=is_batched) for name, one in arrays.items())
    return next((reason for reason in misfits if reason), "")


def _misfit(name: str, array: "np.ndarray[Any, Any]", spec: dict[str, Any], *, is_batched: bool) -> str:
    if array.dtype != NUMPY_TYPES[spec["datatype"]]:
        return f"input {name} has the type {array.dtype}, {spec['datatype']} was expected"
    expected = _expected(array.size, spec["shape"], is_batched=is_batched)
    return f"input {name} has {array.size} elements, {expected} were expected" if expected else ""


def _expected(size: int, shape: Sequence[int], *, is_batched: bool) -> str:
    """Return how many elements a sample has of an input, in words, or nothing if it may have so many.

    Where the first size is open it is that of the batch, and a sample has a row of it; or some, where a row is not a
    sample. Else a sample has the whole, as of a rate, or its part of a batch of a fixed size.
    """
    is_open = is_batched and bool(shape) and shape[0] < 0
    sizes = list(shape)[1:] if is_open else list(shape)
    most = math.prod(sizes)
    if any(one <= 0 for one in sizes):
        return ""
    if is_open:
        return "" if size and size % most == 0 else f"{most} or a multiple"
    if is_batched:
        return "" if size and most % size == 0 else f"{most} or an even part"
    return "" if size == most else str(most)
