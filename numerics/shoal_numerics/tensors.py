"""Between the wire's tensors (Open Inference Protocol v2 datatypes, base64) and numpy arrays."""

from __future__ import annotations

import base64
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import numpy as np

from shoal_contract.manifest import LENGTH_BYTES, Datatype, TensorData

K = TypeVar("K")
V = TypeVar("V")
if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]
    """An array of one of `NUMPY_TYPES`."""
else:
    Array = Any  # whoever reads annotations while running needs no numpy for it


class _MadeOnUse(dict[K, V]):
    """A table that is filled when it is first looked into: numpy's types are only there once it is loaded.

    From then on `table[key]`, which every request takes, costs what it costs in a dict.
    """

    def __init__(self, make: Callable[[], dict[K, V]]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> V:
        return self._filled()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._filled()

    def __iter__(self) -> Iterator[K]:
        return iter(self._filled())

    def __len__(self) -> int:
        return len(self._filled())

    def get(self, key: K, default: Any = None) -> Any:  # noqa: ANN401 - as a dict's
        return self._filled().get(key, default)

    def items(self) -> ItemsView[K, V]:  # type: ignore[override]
        return self._filled().items()

    def values(self) -> ValuesView[V]:  # type: ignore[override]
        return self._filled().values()

    def _filled(self) -> dict[K, V]:
        made = self._make()
        self.update(made)
        return made


@cache
def _numpy_types() -> dict[str, np.dtype[Any]]:
    return {
        "BOOL": np.dtype(np.bool_),
        "UINT8": np.dtype(np.uint8),
        "UINT16": np.dtype(np.uint16),
        "UINT32": np.dtype(np.uint32),
        "UINT64": np.dtype(np.uint64),
        "INT8": np.dtype(np.int8),
        "INT16": np.dtype(np.int16),
        "INT32": np.dtype(np.int32),
        "INT64": np.dtype(np.int64),
        "FP16": np.dtype(np.float16),
        "FP32": np.dtype(np.float32),
        "FP64": np.dtype(np.float64),
        "BYTES": np.dtype(np.object_),
    }


NUMPY_TYPES: Final[Mapping[str, np.dtype[Any]]] = _MadeOnUse(_numpy_types)
"""The numpy type of each datatype, in the machine's byte order; elements of BYTES are `bytes`."""
DATATYPES: Final[Mapping[np.dtype[Any], Datatype]] = _MadeOnUse(
    lambda: {kind: name for name, kind in NUMPY_TYPES.items()}  # type: ignore[misc]
)
ONNX_DATATYPES: Final[dict[str, Datatype]] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
"""The datatype of each type of tensor by ONNX Runtime's name; other types have none."""


def bytes_array(elements: Sequence[bytes]) -> Array:
    """Return elements of BYTES as a flat array of objects."""
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array


def from_tensor_data(tensor: TensorData) -> Array:
    """Return a tensor of the wire as an array of its shape; the array owns its memory."""
    if tensor.datatype == "BYTES":
        return bytes_array(tensor.elements()).reshape(tensor.shape)
    wire_type = NUMPY_TYPES[tensor.datatype].newbyteorder("<")
    flat = np.frombuffer(tensor.to_bytes(), dtype=wire_type)
    return flat.reshape(tensor.shape).astype(NUMPY_TYPES[tensor.datatype])


def to_tensor_data(array: Array) -> TensorData:
    """Return an array as a tensor of the wire.

    Raises:
        KeyError: The array's type is none of `NUMPY_TYPES`.
    """
    if array.dtype.kind == "O":
        data = b"".join(len(one).to_bytes(LENGTH_BYTES, "little") + one for one in array.ravel())
        return TensorData(datatype="BYTES", shape=array.shape, data=base64.b64encode(data).decode())
    native = array.dtype.newbyteorder("=")
    data = np.ascontiguousarray(array).astype(native.newbyteorder("<"), copy=False).tobytes()
    return TensorData(datatype=DATATYPES[native], shape=array.shape, data=base64.b64encode(data).decode())
