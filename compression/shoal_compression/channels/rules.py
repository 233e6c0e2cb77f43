"""How labels of channels pass through each operator: what an operator adds up, joins or splits belongs together.

An operator without a rule fixes the channels that reach it: nothing is taken away that is not understood.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import onnx

from shoal_compression.channels.labels import Labels, Unions, fixed, reshaped
from shoal_compression.trainable.graph import attributes_of

Axes = list[Labels]
"""Labels of every axis of a tensor."""


@dataclass(frozen=True)
class Place:
    """One node with what is known of its inputs and outputs."""

    node: onnx.NodeProto
    inputs: list[Axes]
    """Without those that are left out at the end; an optional one in between is without axes."""
    shapes: list[list[int]]
    """Of the outputs."""
    whole_numbers: list[list[int] | None]
    """What an input holds, if that is a vector of whole numbers."""
    unions: Unions

    def attribute(self, name: str, default: object) -> object:
        """Return an attribute."""
        return attributes_of(self.node).get(name, default)

    def axis(self, default: int, ndim: int) -> int:
        """Return the attribute `axis`, counted from the beginning."""
        return int(cast("int", self.attribute("axis", default))) % ndim

    def axes(self, ndim: int, place: int = 1) -> list[int]:
        """Return the axes that an input or an attribute names; all of them if none does."""
        given = self.whole_numbers[place] if place < len(self.whole_numbers) else None
        if given is None:
            given = cast("list[int]", self.attribute("axes", list(range(ndim))))
        return [int(axis) % ndim for axis in given]


Rule = Callable[[Place], list[Axes]]
RULES: Final[dict[str, Rule]] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Put a function into the table under these names."""

    def note(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return note


def passed(place: Place) -> list[Axes]:
    """Return the labels of the outputs of a node, after what belongs together is united."""
    return RULES.get(place.node.op_type, _unknown)(place)


def _unknown(place: Place) -> list[Axes]:
    for axes in place.inputs:
        for labels in axes:
            place.unions.fix(labels)
    return [[fixed(size) for size in shape] for shape in place.shapes]


_ONE: Final = (
    "Abs Cast Ceil Clip Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Log Mish Neg "
    "Reciprocal Relu Round Sigmoid Sign Softplus Softsign Sqrt Tanh"
)


@rule(*_ONE.split())
def _same(place: Place) -> list[Axes]:
    return [place.inputs[0]]


@rule("Add", "Sub", "Mul", "Div", "Pow", "Sum", "Min", "Max", "Where", "PRelu")
def _broadcast(place: Place) -> list[Axes]:
    ndim = len(place.shapes[0])
    made: Axes = [fixed(size) for size in place.shapes[0]]
    seen = [False] * ndim
    for axes in place.inputs:
        for axis, labels in enumerate(axes, start=ndim - len(axes)):
            if len(labels) != len(made[axis]) or len(labels) == 1:
                continue
            if seen[axis]:
                place.unions.unite(made[axis], labels)
            made[axis], seen[axis] = labels, True
    return [made]


@rule("Conv")
def _conv(place: Place) -> list[Axes]:
    unions, x, weight = place.unions, place.inputs[0], place.inputs[1]
    group = int(cast("int", place.attribute("group", 1)))
    if group == 1:
        unions.unite(weight[1], x[1])
    elif group == len(x[1]):
        unions.unite(weight[0], np.repeat(x[1], len(weight[0]) // group))
    else:
        for labels in (x[1], weight[0], weight[1]):
            unions.fix(labels)
    return _convolved(place, weight[0], weight[2:], x[2:])


@rule("ConvTranspose")
def _conv_transpose(place: Place) -> list[Axes]:
    unions, x, weight = place.unions, place.inputs[0], place.inputs[1]
    unions.unite(weight[0], x[1])
    if int(cast("int", place.attribute("group", 1))) != 1:
        unions.fix(weight[0])
        unions.fix(weight[1])
        return _convolved(place, fixed(place.shapes[0][1]), weight[2:], x[2:])
    return _convolved(place, weight[1], weight[2:], x[2:])


def _convolved(place: Place, out: Labels, kernel: Axes, spatial: Axes) -> list[Axes]:
    for labels in (*kernel, *spatial):
        place.unions.fix(labels)
    if len(place.inputs) > 2 and place.inputs[2]:  # noqa: PLR2004 - x, weight, bias
        place.unions.unite(place.inputs[2][0], out)
    shape = place.shapes[0]
    return [[place.inputs[0][0], out, *(fixed(size) for size in shape[2:])]]


@rule("Gemm")
def _gemm(place: Place) -> list[Axes]:
    a, b = place.inputs[0], place.inputs[1]
    a = a[::-1] if place.attribute("transA", 0) else a
    b = b[::-1] if place.attribute("transB", 0) else b
    place.unions.unite(a[1], b[0])
    made: Axes = [a[0], b[1]]
    if len(place.inputs) > 2 and place.inputs[2] and len(place.inputs[2][-1]) == len(b[1]):  # noqa: PLR2004 - as above
        place.unions.unite(place.inputs[2][-1], b[1])
    return [made]


@rule("MatMul")
def _matmul(place: Place) -> list[Axes]:
    a, b = place.inputs[0], place.inputs[1]
    if len(a) < 2 or len(b) < 2:  # noqa: PLR2004 - vectors
        return _unknown(place)
    place.unions.unite(a[-1], b[-2])
    before = Place(place.node, [a[:-2], b[:-2]], [place.shapes[0][:-2]], [], place.unions)
    return [[*_broadcast(before)[0], a[-2], b[-1]]]


@rule("BatchNormalization", "InstanceNormalization")
def _normalized(place: Place) -> list[Axes]:
    for one in place.inputs[1:]:
        place.unions.unite(one[0], place.inputs[0][1])
    return [place.inputs[0]]


@rule("LayerNormalization")
def _layer_normalized(place: Place) -> list[Axes]:
    x = place.inputs[0]
    for labels in (*x[place.axis(-1, len(x)) :], *(one for axes in place.inputs[1:] for one in axes)):
        place.unions.fix(labels)
    return [x]


@rule("Softmax", "LogSoftmax")
def _softmax(place: Place) -> list[Axes]:
    x = place.inputs[0]
    place.unions.fix(x[place.axis(-1, len(x))])
    return [x]


@rule("AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool")
def _pooled(place: Place) -> list[Axes]:
    x = place.inputs[0]
    for labels in x[2:]:
        place.unions.fix(labels)
    return [[*x[:2], *(fixed(size) for size in place.shapes[0][2:])]]


@rule("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")
def _reduced(place: Place) -> list[Axes]:
    x = place.inputs[0]
    gone = set(place.axes(len(x)))
    for axis in gone:
        place.unions.fix(x[axis])
    if place.attribute("keepdims", 1):
        return [[fixed(1) if axis in gone else labels for axis, labels in enumerate(x)]]
    return [[labels for axis, labels in enumerate(x) if axis not in gone]]


@rule("Transpose")
def _transposed(place: Place) -> list[Axes]:
    x = place.inputs[0]
    order = cast("list[int]", place.attribute("perm", list(reversed(range(len(x))))))
    return [[x[axis] for axis in order]]


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshaped(place: Place) -> list[Axes]:
    return [reshaped(place.unions, place.inputs[0], place.shapes[0])]


@rule("Concat")
def _joined(place: Place) -> list[Axes]:
    axis = place.axis(0, len(place.shapes[0]))
    made = list(place.inputs[0])
    for other in place.inputs[1:]:
        for at, labels in enumerate(other):
            if at != axis:
                place.unions.unite(made[at], labels)
    made[axis] = np.concatenate([one[axis] for one in place.inputs])
    return [made]


@rule("Pad", "Slice", "Split", "Gather")
def _cut(place: Place) -> list[Axes]:
    """Fix the axes along which places are added or chosen; the others stay as they are."""
    x = place.inputs[0]
    if place.node.op_type == "Gather":
        axis = place.axis(0, len(x))
        place.unions.fix(x[axis])
        return [[*x[:axis], *(fixed(len(one)) for one in place.inputs[1]), *x[axis + 1 :]]]
    if place.node.op_type == "Split":
        changed = {place.axis(0, len(x))}
    elif place.node.op_type == "Slice":
        changed = set(place.axes(len(x), 3))
    else:
        changed = {axis for axis, size in enumerate(place.shapes[0]) if size != len(x[axis])}
    for axis in changed:
        place.unions.fix(x[axis])
    return [[fixed(size) if axis in changed else x[axis] for axis, size in enumerate(shape)] for shape in place.shapes]


@rule("Shape")
def _shape(place: Place) -> list[Axes]:
    return [[fixed(size) for size in shape] for shape in place.shapes]
