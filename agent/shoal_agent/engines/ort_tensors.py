"""Between numpy's arrays and the tensors of ONNX Runtime's C API, without copying numbers."""

from __future__ import annotations

import ctypes
import math
from ctypes import addressof, c_char, c_int64, c_size_t
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np

from shoal_agent.engines.engine import EngineError
from shoal_agent.engines.ort_api import DEFAULT_MEMORY, DEVICE_ALLOCATOR, OrtApi
from shoal_contract.manifest import Datatype
from shoal_numerics.tensors import NUMPY_TYPES, Array, bytes_array

ELEMENT_TYPES: Final[dict[int, Datatype]] = {
    1: "FP32",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    8: "BYTES",
    9: "BOOL",
    10: "FP16",
    11: "FP64",
    12: "UINT32",
    13: "UINT64",
}
"""`enum ONNXTensorElementDataType`, as far as there are datatypes for it."""
_STRINGS: Final = 8
_USUAL_RANK: Final = 8
_SLOT_BYTES: Final = ctypes.sizeof(c_size_t)
_KEPT_BYTES: Final = 16 * 1024
"""Of a tensor, at most, that stays for the next run; of a larger one nothing is copied."""
_KEPT_LENGTHS: Final = 256


class _ArrayStruct(ctypes.Structure):
    """`PyArrayInterface` of numpy's array interface protocol: where an array lies."""

    _fields_ = (
        ("two", ctypes.c_int),
        ("rank", ctypes.c_int),
        ("kind", c_char),
        ("item_bytes", ctypes.c_int),
        ("flags", ctypes.c_int),
        ("shape", c_size_t),
        ("strides", c_size_t),
        ("data", c_size_t),
        ("description", c_size_t),
    )


_address_in: Final = ctypes.PYFUNCTYPE(c_size_t, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class _Held:
    """A tensor of the runtime that lives as long as an array shows it."""

    __slots__ = ("_release", "_value")

    def __init__(self, release: Any, value: int) -> None:  # noqa: ANN401 - a function of C
        self._release = release
        self._value = value

    def __del__(self) -> None:
        self._release(self._value)


class Slots:
    """Where the runtime reads and writes the tensors of one run, and what it tells of them.

    Small tensors stay for the next run with inputs of the same sizes: to copy what is in them takes much less time than
    to make and release them. All other slots are 0 between runs.

    Args:
        call: The library's functions.
        inputs: How many.
        outputs: How many.
    """

    def __init__(self, call: Any, inputs: int, outputs: int) -> None:  # noqa: ANN401 - functions of C
        self._release = call.ReleaseValue
        self.inputs = (c_size_t * inputs)()
        self.outputs = (c_size_t * outputs)()
        self.kept_inputs: list[Array | None] = [None] * inputs
        """Arrays whose memory the tensors that stay are; None: this one does not."""
        self.kept_outputs: list[Array | None] = [None] * outputs
        """Arrays that show the tensors that stay."""
        self.told = c_size_t()
        self.sizes = (c_int64 * _USUAL_RANK)()
        self.inputs_at, self.outputs_at = addressof(self.inputs), addressof(self.outputs)
        self.told_at, self.sizes_at = addressof(self.told), addressof(self.sizes)

    def clear(self) -> None:
        """Release the tensors that neither stay nor are shown by an answer."""
        for slot, array in enumerate(self.kept_inputs):
            if array is None:
                self.drop_input(slot)
        for slot, array in enumerate(self.kept_outputs):
            if array is None and (value := self.outputs[slot]):
                self._release(value)
                self.outputs[slot] = 0

    def drop_input(self, slot: int) -> None:
        """Release an input's tensor."""
        self._release(self.inputs[slot])
        self.inputs[slot] = 0
        self.kept_inputs[slot] = None

    def drop_outputs(self) -> bool:
        """Release the outputs' tensors, and tell whether any had stayed."""
        had_any = any(array is not None for array in self.kept_outputs)
        for slot, value in enumerate(self.outputs):
            self._release(value)
            self.outputs[slot] = 0
            self.kept_outputs[slot] = None
        return had_any

    def __del__(self) -> None:
        self.drop_outputs()
        for slot in range(len(self.inputs)):
            self.drop_input(slot)


class Tensors:
    """Makes tensors of arrays, and arrays of tensors.

    Args:
        api: The library.

    Raises:
        OrtError: It has no memory on the CPU.
    """

    def __init__(self, api: OrtApi) -> None:
        self._api = api
        self._call = api.call
        self._allocator = api.asked("GetAllocatorWithDefaultOptions")
        self._memory = api.asked("CreateCpuMemoryInfo", DEVICE_ALLOCATOR, DEFAULT_MEMORY)

    def put(self, slots: Slots, slot: int, array: Array) -> None:
        """Make a tensor of an array: of many numbers, it is the array's own memory, which has to stay.

        Args:
            slots: Whose input it is.
            slot: Of the input.
            array: In C's order.

        Raises:
            EngineError: The array is of none of the datatypes, or of strings that are no text.
            OrtError: The runtime refused it.
        """
        kept = slots.kept_inputs[slot]
        if kept is not None and kept.shape == array.shape and kept.dtype == array.dtype:
            kept[...] = array
            return
        slots.drop_outputs()  # they are of other sizes, as far as is known
        slots.drop_input(slot)
        number = _numbers().get(array.dtype)
        if number is None:
            msg = f"running a model: input {slot} is an array of {array.dtype}, expected one of the datatypes"
            raise EngineError(msg, "convert the array")
        if number == _STRINGS:
            self._put_texts(array, slots.inputs_at + slot * _SLOT_BYTES)
            return
        stays = array.nbytes <= _KEPT_BYTES
        source = array.copy() if stays else array
        capsule = source.__array_struct__  # has to live as long as what is read in it
        at = _ArrayStruct.from_address(_address_in(capsule, None))
        self._api.check(
            self._call.CreateTensorWithDataAsOrtValue(
                self._memory, at.data, array.nbytes, at.shape, at.rank, number, slots.inputs_at + slot * _SLOT_BYTES
            )
        )
        slots.kept_inputs[slot] = source if stays else None

    def show(self, slots: Slots, slot: int, numpy_type: np.dtype[Any], *, may_stay: bool) -> Array:
        """Return an array of what an output's slot has; of many numbers, it is the tensor's own memory.

        Args:
            slots: Whose output it is.
            slot: Of the output.
            numpy_type: Of the output.
            may_stay: Whether a small tensor stays in its slot, where the next run writes into it.

        Raises:
            OrtError: The runtime can not tell.
        """
        kept = slots.kept_outputs[slot]
        if kept is not None:
            return np.array(kept)
        value, shape = slots.outputs[slot], self._shape(slots, slots.outputs[slot])
        if numpy_type.kind == "O":
            return self._texts(value, math.prod(shape)).reshape(shape)
        size_bytes = math.prod(shape) * numpy_type.itemsize
        if size_bytes == 0:
            return np.empty(shape, numpy_type)
        if status := self._call.GetTensorMutableData(value, slots.told_at):
            self._api.check(status)
        memory = _bytes_type(size_bytes).from_address(slots.told.value)
        array: Array = np.ndarray(shape, numpy_type, memory)
        if may_stay and size_bytes <= _KEPT_BYTES:
            slots.kept_outputs[slot] = array
            return np.array(array)
        memory.held = _Held(self._call.ReleaseValue, value)
        slots.outputs[slot] = 0
        return array

    def _shape(self, slots: Slots, value: int) -> tuple[int, ...]:
        """Return the sizes of a tensor; called with each run, so that it makes as little as it can."""
        call, told = self._call, slots.told
        if status := call.GetTensorTypeAndShape(value, slots.told_at):
            self._api.check(status)
        info = told.value
        try:
            if status := call.GetDimensionsCount(info, slots.told_at):
                self._api.check(status)
            rank = told.value
            if rank > _USUAL_RANK:
                return self.dimensions(info)
            if status := call.GetDimensions(info, slots.sizes_at, rank):
                self._api.check(status)
            return tuple(slots.sizes[:rank])
        finally:
            call.ReleaseTensorTypeAndShapeInfo(info)

    def dimensions(self, info: int) -> tuple[int, ...]:
        """Return the sizes that an OrtTensorTypeAndShapeInfo tells; -1 where any size is possible."""
        rank = self._api.asked("GetDimensionsCount", info)
        sizes = (c_int64 * rank)()
        self._api.check(self._call.GetDimensions(info, addressof(sizes), rank))
        return tuple(sizes)

    def _put_texts(self, array: Array, slot_at: int) -> None:
        texts = [text.encode() for text in texts_of(array)]
        shape = (c_int64 * array.ndim)(*array.shape)
        self._api.check(
            self._call.CreateTensorAsOrtValue(self._allocator, addressof(shape), array.ndim, _STRINGS, slot_at)
        )
        value = c_size_t.from_address(slot_at).value
        for index, text in enumerate(texts):
            place = self._api.asked("GetResizedStringTensorElementBuffer", value, index, len(text))
            ctypes.memmove(place, text, len(text))

    def _texts(self, value: int, count: int) -> Array:
        size_bytes = self._api.asked("GetStringTensorDataLength", value)
        content, starts = ctypes.create_string_buffer(size_bytes), (c_size_t * count)()
        self._api.check(
            self._call.GetStringTensorContent(value, addressof(content), size_bytes, addressof(starts), count)
        )
        found, ends = content.raw, [*starts, size_bytes][1:]
        return bytes_array([found[start:end] for start, end in zip(starts, ends, strict=True)])


@cache
def tensors_of(api: OrtApi) -> Tensors:
    """Return the one of a library."""
    return Tensors(api)


def texts_of(array: Array) -> list[str]:
    """Return the elements of an array of BYTES as text.

    Raises:
        EngineError: One of them is no text.
    """
    try:
        return [one.decode() for one in array.ravel()]
    except UnicodeDecodeError as error:
        raise EngineError("an element of BYTES is no UTF-8, which ONNX Runtime asks for", "send text") from error


@lru_cache(_KEPT_LENGTHS)
def _bytes_type(size_bytes: int) -> Any:  # noqa: ANN401 - a type of ctypes that can hold what it belongs to
    """Return ctypes' array of that many bytes; making one takes much longer than a run of a small model."""
    return c_char * size_bytes


@cache
def _numbers() -> dict[np.dtype[Any], int]:
    return {NUMPY_TYPES[datatype]: one for one, datatype in ELEMENT_TYPES.items()}
