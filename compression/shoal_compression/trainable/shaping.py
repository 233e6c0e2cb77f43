"""Operators that move values and compute with shapes, by PyTorch."""

from typing import Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

from shoal_compression.errors import TechniqueError
from shoal_compression.trainable.calling import Call, Values, operator
from shoal_compression.trainable.layers import pad as padded

DTYPES: Final[dict[int, torch.dtype]] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.BOOL: torch.bool,
}


@operator("Reshape")
def reshape(call: Call) -> torch.Tensor:
    """Give another shape; 0 keeps a size."""
    x = call.take(0)
    wanted = [int(one) for one in call.take(1).tolist()]
    if not call.integer("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


@operator("Flatten")
def flatten(call: Call) -> torch.Tensor:
    """Make a matrix."""
    x, axis = call.take(0), call.integer("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    rows = 1
    for size in x.shape[:axis]:
        rows *= size
    return x.reshape(rows, -1)


@operator("Transpose")
def transpose(call: Call) -> torch.Tensor:
    """Order the axes anew."""
    x = call.take(0)
    return x.permute(call.integers("perm", list(reversed(range(x.ndim)))))


@operator("Squeeze")
def squeeze(call: Call) -> torch.Tensor:
    """Drop axes of size 1."""
    x, axes = call.take(0), call.axes()
    if axes is None:
        return x.squeeze()
    return x.squeeze(tuple(axes))


@operator("Unsqueeze")
def unsqueeze(call: Call) -> torch.Tensor:
    """Add axes of size 1."""
    x, axes = call.take(0), call.axes() or []
    ndim = x.ndim + len(axes)
    for axis in sorted(axis % ndim for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Concat")
def concat(call: Call) -> torch.Tensor:
    """Join along one axis."""
    return torch.cat([call.take(place) for place in range(len(call.inputs))], call.integer("axis", 0))


@operator("Slice")
def slice_(call: Call) -> torch.Tensor:
    """Take a part, with steps of either sign."""
    x = call.take(0)
    starts, ends = ([int(one) for one in call.take(place).tolist()] for place in (1, 2))
    axes = call.axes(3) or list(range(len(starts)))
    given = call.maybe(4)
    steps = [1] * len(starts) if given is None else [int(one) for one in given.tolist()]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        places = range(x.shape[axis])[slice(start, end if step > 0 or end >= -x.shape[axis] else None, step)]
        x = x.index_select(axis, torch.tensor(places, dtype=torch.int64, device=x.device))
    return x


@operator("Gather")
def gather(call: Call) -> torch.Tensor:
    """Take places along one axis; negative ones count from its end."""
    x, places, axis = call.take(0), call.take(1).to(torch.int64), call.integer("axis", 0)
    axis %= x.ndim
    places = torch.where(places < 0, places + x.shape[axis], places).to(x.device)
    taken = x.index_select(axis, places.reshape(-1))
    return taken.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


@operator("Split")
def split(call: Call) -> Values:
    """Cut along one axis."""
    x, axis, given = call.take(0), call.integer("axis", 0), call.maybe(1)
    if given is not None:
        return tuple(torch.split(x, [int(one) for one in given.tolist()], axis))
    count = call.integer("num_outputs", call.outputs)
    return tuple(torch.split(x, -(-x.shape[axis] // count), axis))


@operator("Shape")
def shape(call: Call) -> torch.Tensor:
    """Return the sizes."""
    x = call.take(0)
    sizes = list(x.shape)[call.integer("start", 0) : call.integer("end", x.ndim) if "end" in call.attributes else None]
    return torch.tensor(sizes, dtype=torch.int64)


@operator("Cast")
def cast(call: Call) -> torch.Tensor:
    """Change the datatype."""
    wanted = call.integer("to", 0)
    if wanted not in DTYPES:
        found = TensorProto.DataType.Name(wanted)
        raise TechniqueError(f"running the node {call.name}: a cast to {found} found; train the model before that step")
    return call.take(0).to(DTYPES[wanted])


@operator("ConstantOfShape")
def constant_of_shape(call: Call) -> torch.Tensor:
    """Fill a shape with one value."""
    sizes = [int(one) for one in call.take(0).tolist()]
    value = call.attributes.get("value")
    if isinstance(value, onnx.TensorProto):
        one = torch.from_numpy(numpy_helper.to_array(value).copy().reshape(-1))[0]
        return torch.full(sizes, one.item(), dtype=one.dtype)
    return torch.zeros(sizes)


@operator("Expand")
def expand(call: Call) -> torch.Tensor:
    """Repeat axes of size 1."""
    x = call.take(0)
    sizes = np.broadcast_shapes(tuple(x.shape), tuple(int(one) for one in call.take(1).tolist()))
    return x.expand(sizes)


@operator("Tile")
def tile(call: Call) -> torch.Tensor:
    """Repeat along each axis."""
    return call.take(0).tile([int(one) for one in call.take(1).tolist()])


@operator("Pad")
def pad(call: Call) -> torch.Tensor:
    """Add values at the beginnings and ends of axes."""
    x, given, value = call.take(0), [int(one) for one in call.take(1).tolist()], call.maybe(2)
    axes = [axis % x.ndim for axis in call.axes(3) or range(x.ndim)]
    pads = [0] * 2 * x.ndim
    for place, axis in enumerate(axes):
        pads[axis], pads[axis + x.ndim] = given[place], given[place + len(axes)]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(call.text("mode", "constant"))
    if mode is None:
        raise TechniqueError(f"running the node {call.name}: padding by {call.text('mode', '')} is not known here")
    if mode != "constant":
        pads = _inner(call, pads, x.ndim)
    return padded(x, pads, 0.0 if value is None else float(value), mode)


def _inner(call: Call, pads: list[int], ndim: int) -> list[int]:
    """Return the pads of all axes but the first two, which PyTorch does not reflect in."""
    if any(pads[:2]) or any(pads[ndim : ndim + 2]):
        raise TechniqueError(f"running the node {call.name}: reflection of samples or channels is not known here")
    return pads[2:ndim] + pads[ndim + 2 :]
