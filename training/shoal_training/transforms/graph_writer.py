"""Writes an ONNX graph node by node, and keeps where in it each column of a frame is."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np

from shoal_contract.manifest import TensorSpec
from shoal_training.onnx_samples import Array
from shoal_training.transforms.frame import placed

OPSETS: Final = {"": 17, "ai.onnx.ml": 3, "com.microsoft": 1}
IR_VERSION: Final = 8
"""The file's form that belongs to opset 17."""


class GraphWriter:
    """Nodes and constants of a graph that grows.

    Args:
        reserved: Names that its inputs and its output have.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._reserved = frozenset(reserved)
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._arrays: dict[str, Array] = {}
        self._count = 0

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:  # noqa: ANN401 - ONNX's
        """Add a node with one output; return the output's name."""
        from onnx import helper

        name = self._name(operator)
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def constant(self, value: Any, dtype: Any) -> str:  # noqa: ANN401 - what numpy makes arrays of
        """Return the name of a constant; the same one for the same value."""
        array = np.asarray(value, dtype=dtype)
        content = repr(array.tolist()).encode() if array.dtype.kind == "O" else array.tobytes()
        key = (array.dtype.str, array.shape, content)
        if key not in self._constants:
            self._constants[key] = self._name("constant")
            self._arrays[self._constants[key]] = array
        return self._constants[key]

    def cast(self, tensor: str, dtype: Any) -> str:  # noqa: ANN401 - what numpy takes for a type
        """Add a conversion to the numbers of a numpy type."""
        from onnx import helper

        return self.add("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def model(self, inputs: Sequence[TensorSpec], result: str, shape: tuple[int, ...], output: str) -> Any:  # noqa: ANN401 - onnx has few types
        """Return the graph that gives `result`, (-1, *shape) float32, as `output`."""
        from onnx import TensorProto, helper, numpy_helper

        kinds = {"FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE, "BYTES": TensorProto.STRING}
        given = [helper.make_tensor_value_info(one.name, kinds[one.datatype], [None, *one.shape[1:]]) for one in inputs]
        nodes = [*self._nodes, helper.make_node("Identity", [result], [output], name="result")]
        made = helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, *shape])
        constants = [numpy_helper.from_array(array, name) for name, array in self._arrays.items()]
        used = {one.domain for one in nodes} | {""}
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items() if domain in used]
        graph = helper.make_graph(nodes, "preparation", given, [made], constants)
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="shoal")

    def _name(self, after: str) -> str:
        self._count += 1
        name = f"{after} {self._count}"
        return self._name(after) if name in self._reserved else name


class GraphFrame:
    """Where each column is: a column of a tensor (rows, columns). What `Frame` is to a table, this is to a graph.

    Args:
        writer: Of the graph.
        tensors: Names of columns by tensor, in the tensor's order.
    """

    def __init__(self, writer: GraphWriter, tensors: Mapping[str, Sequence[str]]) -> None:
        self._writer = writer
        self._widths = {tensor: len(names) for tensor, names in tensors.items()}
        self._places = {name: (tensor, at) for tensor, names in tensors.items() for at, name in enumerate(names)}
        self.order: tuple[str, ...] = tuple(self._places)

    def block(self, names: Sequence[str]) -> str:
        """Return the tensor of columns side by side, (rows, names)."""
        parts = []
        for tensor, found in groupby((self._places[name] for name in names), key=lambda place: place[0]):
            columns = [at for _, at in found]
            if columns == list(range(self._widths[tensor])):
                parts.append(tensor)
            else:
                parts.append(self._writer.add("Gather", tensor, self._writer.constant(columns, np.int64), axis=1))
        return parts[0] if len(parts) == 1 else self._writer.add("Concat", *parts, axis=1)

    def replace(self, taken: Sequence[str], given: Sequence[str], tensor: str | None, *, keeps: bool) -> None:
        """Take note of columns that were made of others; see `Frame.replaced`."""
        self.order = placed(self.order, taken, given, keeps=keeps)
        if tensor is not None:
            self._widths[tensor] = len(given)
            self._places |= {name: (tensor, at) for at, name in enumerate(given)}
