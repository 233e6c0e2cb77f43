"""The operators that a file runs, out of what ONNX Runtime's profiler writes, and their form on the wire. Pure.

What is profiled is the graph as the runtime has optimized it: fused operators count as one. Devices measure with it,
and compression predicts with it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from shoal_contract.operator_profile import MAX_OPERATOR_KINDS, MAX_OPERATORS, OperatorProfile
from shoal_numerics.errors import ProfileError

KEEP_SHAPES: Final = ("session.disable_prepacking", "1")
"""Session entry: a kernel that has brought its weights into an order of its own does not tell their shapes."""
LOW_QUANTILE: Final = 0.1
"""Of an operator's times: what else runs on the machine makes a run longer and never shorter."""
_KERNEL: Final = "_kernel_time"
_PRODUCTS: Final = ("MatMul", "Gemm")
_SIZES: Final = {
    "float": 4,
    "float16": 2,
    "bfloat16": 2,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "bool": 1,
    "double": 8,
}
Events = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""Of each node, one a run, by its place and name, in the order in which nodes run."""


@dataclass(frozen=True)
class Operator:
    """One node of the optimized graph, with the shapes of one sample.

    Attributes:
        kind: Of its kernel, such as `MatMul`; of a convolution also what it runs over: `QLinearConv/2d depthwise`.
        datatype: Of its first input.
        macs: Multiplications with addition.
        input_bytes: Weights included.
        output_bytes: Of all outputs.
        output_elements: Of all outputs.
    """

    kind: str
    datatype: str
    macs: int
    input_bytes: int
    output_bytes: int
    output_elements: int

    @property
    def key(self) -> str:
        """Return kind and datatype, by which its kernel is known."""
        return f"{self.kind} {self.datatype}"


def read_events(text: str | bytes) -> Events:
    """Return the kernel events in what the profiler wrote.

    Raises:
        ProfileError: It is no profile, or tells of no operator.
    """
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    try:
        for one in json.loads(text):
            if one.get("cat") == "Node" and one["name"].endswith(_KERNEL):
                found.setdefault((str(one["args"]["node_index"]), one["name"]), []).append(one)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f"reading the profile of ONNX Runtime: {error!r}; use another version of it"
        raise ProfileError(msg) from error
    if not found:
        msg = "reading the profile of ONNX Runtime: it tells of no operator; use another version of it"
        raise ProfileError(msg)
    return found


def operators_of(events: Events) -> tuple[Operator, ...]:
    """Return the operators by a session with `KEEP_SHAPES`.

    Raises:
        ProfileError: An event lacks what is expected.
    """
    try:
        return tuple(_operator(rows[0]["args"]) for rows in events.values())
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        msg = f"reading the shapes of operators: {error!r}; use another version of ONNX Runtime"
        raise ProfileError(msg) from error


def read_profile(timed: Events, shapes: Events, warm_up_runs: int) -> tuple[tuple[Operator, ...], tuple[float, ...]]:
    """Return operators and the microseconds of each.

    Args:
        timed: Of a session as models run, with at least one run more than `warm_up_runs`.
        shapes: Of a session with `KEEP_SHAPES`.
        warm_up_runs: The first ones, whose times do not count.

    Raises:
        ProfileError: The two sessions did not run the same nodes, or an event lacks what is expected.
    """
    if timed.keys() != shapes.keys():
        found = f"{len(timed)} operators found with weights as kernels order them, {len(shapes)} without"
        msg = f"reading the profile of ONNX Runtime: {found}; use another version of it"
        raise ProfileError(msg)
    try:
        durations = [[float(row["dur"]) for row in rows[warm_up_runs:]] for rows in timed.values()]
    except (ValueError, TypeError, KeyError) as error:
        msg = f"reading the times of operators: {error!r}; use another version of ONNX Runtime"
        raise ProfileError(msg) from error
    if not all(durations):
        msg = f"reading the times of operators: one has no run after {warm_up_runs} of warm-up; profile more runs"
        raise ProfileError(msg)
    operators = operators_of({node: shapes[node] for node in timed})
    return operators, tuple(float(np.quantile(one, LOW_QUANTILE)) for one in durations)


def to_wire(operators: Sequence[Operator], times_us: Sequence[float]) -> OperatorProfile:
    """Return operators and their times as they are sent.

    Raises:
        ProfileError: There are more operators or kinds than a message has room for, or a figure is beyond its bounds.
    """
    keys = [one.key for one in operators]
    kinds = sorted(set(keys))
    if len(operators) > MAX_OPERATORS or len(kinds) > MAX_OPERATOR_KINDS:
        found = f"{len(operators)} operators of {len(kinds)} kinds found"
        msg = f"telling the operators: {found}, at most {MAX_OPERATORS} of {MAX_OPERATOR_KINDS} have room"
        raise ProfileError(msg)
    try:
        return OperatorProfile(
            kinds=tuple(kinds),
            kind=tuple(map(kinds.index, keys)),
            macs=tuple(one.macs for one in operators),
            input_bytes=tuple(one.input_bytes for one in operators),
            output_bytes=tuple(one.output_bytes for one in operators),
            output_elements=tuple(one.output_elements for one in operators),
            times_us=tuple(round(one, 1) for one in times_us),
        )
    except ValueError as error:
        msg = f"telling the operators: {error}"
        raise ProfileError(msg) from error


def from_wire(told: OperatorProfile) -> tuple[Operator, ...]:
    """Return the operators that were sent."""
    columns = zip(told.kind, told.macs, told.input_bytes, told.output_bytes, told.output_elements, strict=True)
    names = [one.rpartition(" ") for one in told.kinds]
    return tuple(Operator(names[place][0], names[place][2], *figures) for place, *figures in columns)


def _operator(told: Mapping[str, Any]) -> Operator:
    inputs, outputs = _tensors(told["input_type_shape"]), _tensors(told["output_type_shape"])
    kind, shapes = told["op_name"], [shape for _, shape in inputs]
    macs, form = _macs(kind, shapes, outputs[0][1] if outputs else ())
    return Operator(
        kind=f"{kind}/{form}" if form else kind,
        datatype=inputs[0][0] if inputs else "",
        macs=macs,
        input_bytes=sum(map(_bytes_of, inputs)),
        output_bytes=sum(map(_bytes_of, outputs)),
        output_elements=sum(math.prod(shape) for _, shape in outputs),
    )


def _tensors(told: Sequence[Mapping[str, Sequence[int]]]) -> list[tuple[str, tuple[int, ...]]]:
    return [(kind, tuple(map(int, shape))) for one in told for kind, shape in one.items()]


def _bytes_of(tensor: tuple[str, tuple[int, ...]]) -> int:
    return _SIZES.get(tensor[0], 4) * math.prod(tensor[1])


def _macs(kind: str, shapes: Sequence[tuple[int, ...]], made: tuple[int, ...]) -> tuple[int, str]:
    """Return the multiplications with addition, and what a convolution runs over; its kernels differ by that."""
    weight_place = 3 if kind.startswith(("QLinear", "QGemm")) else 1
    if len(shapes) <= weight_place or not (weight := shapes[weight_place]):
        return 0, ""
    if "Conv" in kind:
        places = weight[2:]
        is_depthwise = len(weight) > 1 and weight[1] == 1 < weight[0]
        form = "depthwise" if is_depthwise else "pointwise" if math.prod(places) == 1 else "dense"
        return math.prod(made) * math.prod(weight[1:]), f"{len(places)}d {form}"
    if any(one in kind for one in _PRODUCTS):
        return math.prod(made) * shapes[0][-1], ""
    return 0, ""
