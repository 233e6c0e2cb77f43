"""A trainable view of an ONNX graph: a PyTorch module whose parameters are the graph's weights, written back to it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import onnx
import torch

from shoal_compression.budget import Accelerator
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Model
from shoal_compression.trainable import elementwise, layers, quantized, shaping
from shoal_compression.trainable.calling import OPERATORS, Call
from shoal_compression.trainable.graph import attributes_of, opset_of, read_graph, weights_of, with_weights
from shoal_numerics.tensors import Array

_TABLES: Final = (elementwise, layers, quantized, shaping)
"""Importing them fills the table of operators."""
_TRAINED: Final[dict[str, tuple[int, ...]]] = {
    "Add": (0, 1),
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gather": (0,),
    "Gemm": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "Mul": (0, 1),
    "PRelu": (1,),
}
"""Inputs that are weights. A constant elsewhere, such as a limit of Clip or a deviation to divide by, is no weight."""
_WIDER: Final = {"int4": np.int8, "uint4": np.uint8, "int2": np.int8, "uint2": np.uint8}
Transform = Callable[[torch.Tensor], torch.Tensor]


class Network(torch.nn.Module):
    """Runs a graph operator by operator.

    Weights are float32 initializers of two elements and more in the places of `_TRAINED`. Normalization by batches
    keeps the statistics that the graph holds.
    """

    def __init__(self, model: Model, accelerator: Accelerator = "cpu") -> None:
        super().__init__()
        self._model = model
        self.proto = read_graph(model)
        check_operators(self.proto)
        self.opset = opset_of(self.proto)
        self.transforms: dict[str, Transform] = {}
        """What a weight goes through before it is used, by its name: a mask, a rounding. It is written back so."""
        self._device = torch.device(accelerator)
        self._nodes = [(node, attributes_of(node)) for node in self.proto.graph.node]
        self.weights: dict[str, torch.nn.Parameter] = {}
        self._constants: dict[str, torch.Tensor] = {}
        trained = set(trained_names(self.proto))
        for name, value in weights_of(self.proto).items():
            tensor = _tensor(name, value)
            if name in trained:
                self.weights[name] = torch.nn.Parameter(tensor.to(self._device))
            else:
                self._constants[name] = tensor.to(self._device) if tensor.is_floating_point() else tensor
        self._listed = torch.nn.ParameterList(self.weights.values())

    def weight(self, name: str) -> torch.Tensor:
        """Return a weight as it is used."""
        found = self.weights[name]
        return self.transforms[name](found) if name in self.transforms else found

    def forward(self, feeds: Mapping[str, torch.Tensor], taps: Sequence[str] = ()) -> dict[str, torch.Tensor]:
        """Run a request and return the tensors named by `taps`, or the graph's outputs."""
        wanted = tuple(taps) or tuple(spec.name for spec in self._model.outputs)
        values = self.values(feeds)
        missing = [name for name in wanted if name not in values]
        if missing:
            known = ", ".join(list(values)[-8:])
            raise TechniqueError(
                f"reading the tensors {missing}: the graph has none of these names; it has ..., {known}"
            )
        return {name: values[name] for name in wanted}

    def values(self, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run a request and return every tensor of the graph by name, weights and constants as well."""
        values: dict[str, torch.Tensor] = {name: tensor.to(self._device) for name, tensor in feeds.items()}
        values.update(self._constants)
        values.update({name: self.weight(name) for name in self.weights})
        for node, attributes in self._nodes:
            inputs = tuple(values[name] if name else None for name in node.input)
            call = Call(node.name or node.output[0], inputs, attributes, self.opset, len(node.output))
            made = OPERATORS[node.op_type](call)
            parts = made if isinstance(made, tuple) else (made,)
            values.update(zip(node.output, parts, strict=False))
        return values

    def arrays(self) -> dict[str, Array]:
        """Return the weights by name, as they are used."""
        with torch.no_grad():
            return {name: self.weight(name).detach().cpu().numpy().copy() for name in self.weights}

    def written(self) -> onnx.ModelProto:
        """Return the graph with the weights as they are now."""
        return with_weights(self.proto, self.arrays())

    def model(self) -> Model:
        """Return the model with the weights as they are now."""
        return self._model.with_content(self.written().SerializeToString(deterministic=True))


def trained_names(proto: onnx.ModelProto) -> Iterator[str]:
    """Yield the names of the initializers that are weights."""
    floats = {
        one.name
        for one in proto.graph.initializer
        if one.data_type == onnx.TensorProto.FLOAT and int(np.prod(one.dims)) > 1
    }
    places = dict.fromkeys(floats, False)
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            if name in floats:
                places[name] = places[name] or place in _TRAINED.get(node.op_type, ())
    yield from (one.name for one in proto.graph.initializer if places.get(one.name))


def check_operators(proto: onnx.ModelProto) -> None:
    """See that every operator can be run.

    Raises:
        TechniqueError: Some can not; all of them are named.
    """
    unknown = sorted(
        {
            f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            for node in proto.graph.node
            if node.domain not in {"", "ai.onnx"} or node.op_type not in OPERATORS
        }
    )
    if unknown:
        found = f"the graph has operators that are not trained here: {', '.join(unknown)}"
        raise TechniqueError(f"reading a graph to train it: {found}; leave this step out, or train where it was made")


@contextmanager
def repeatable(seed: int, threads: int) -> Iterator[None]:
    """Let PyTorch draw by a seed and work in so many threads, and leave its state as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


def _tensor(name: str, value: Array) -> torch.Tensor:
    kept = value.astype(_WIDER[value.dtype.name]) if value.dtype.name in _WIDER else value
    try:
        return torch.from_numpy(np.array(kept, copy=True))
    except TypeError as error:
        found = f"the weight {name} is {value.dtype}"
        raise TechniqueError(
            f"reading a graph to train it: {found}; train the model in float32, before other steps"
        ) from error
