"""Looks into a sample that a device has sent, before anybody opens it: numbers that fit the model's inputs."""

import io
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_hub.errors import InvalidInputError
from shoal_hub.registry.archives import check_npz

_TYPES: Final = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def why_no_sample(sample: bytes, inputs: Sequence[dict[str, Any]], max_unpacked_bytes: int) -> str:
    """Return why an `.npz` is no sample of a model, or nothing if it is one.

    Args:
        sample: The archive, of whatever origin.
        inputs: TensorSpec of each input of the version; the first size of a shape is that of a batch.
        max_unpacked_bytes: What its arrays may come to.
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
    except (ValueError, OSError, KeyError, EOFError, NotImplementedError) as error:
        return f"it is no .npz: {error}"
    specs = {spec["name"]: spec for spec in inputs}
    if not arrays or not arrays.keys() <= specs.keys():
        return f"arrays {', '.join(sorted(arrays))[:100] or 'of none'} found, the model's inputs are {', '.join(specs)}"
    return next((reason for name, one in arrays.items() if (reason := _misfit(name, one, specs[name]))), "")


def _misfit(name: str, array: "np.ndarray[Any, Any]", spec: dict[str, Any]) -> str:
    wanted = _TYPES.get(spec["datatype"])
    if wanted is None or array.dtype != wanted:
        return f"input {name} has the type {array.dtype}, {spec['datatype']} was expected"
    sizes = list(spec["shape"])[1:]
    if all(size > 0 for size in sizes) and array.size != math.prod(sizes):
        return f"input {name} has {array.size} elements, {math.prod(sizes)} were expected"
    return ""
