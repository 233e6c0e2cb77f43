"""What each layer loses: the signal-to-noise ratio inside of a variant's graph against the source's.

Tensors of both graphs that have the same name are compared. In a quantized ONNX graph the tensor behind its
QuantizeLinear and DequantizeLinear is taken, so that the runtime may still use its integer kernels, whose saturation
is then seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from shoal_compression.comparing import MAX_SQNR_DB
from shoal_compression.data import Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.model import SIGNATURE, Model
from shoal_compression.onnx_session import open_onnx
from shoal_compression.running import BATCH
from shoal_compression.verdict import Layer
from shoal_numerics.tensors import Array

MAX_SAMPLES: Final = 128
MAX_LAYERS: Final = 500
"""Of a graph; the first ones."""
MOST_BLAMED: Final = 3


class _Node(NamedTuple):
    """A node of the source's graph, with the tensors that it reads and writes."""

    name: str
    operator: str
    reads: tuple[str, ...]
    writes: str


class Sensitivity(NamedTuple):
    """Layers in the order of the graph; without any, why they can not be told."""

    layers: tuple[Layer, ...]
    note: str = ""

    @property
    def blamed(self) -> tuple[str, ...]:
        """Those that lose the most by themselves, worst first."""
        worst = sorted(self.layers, key=lambda layer: layer.own_sqnr_db)[:MOST_BLAMED]
        return tuple(f"{layer.name} ({layer.operator}, {layer.own_sqnr_db:.1f} dB)" for layer in worst)


def sensitivity(source: Model, variant: Model, samples: Samples) -> Sensitivity:
    """Compare what the layers of two graphs say on the first samples.

    Raises:
        TechniqueError: A graph does not run with its inner tensors as outputs.
    """
    if source.form != variant.form or source.form == "keras":
        note = f"layers can not be told between files in the forms {source.form} and {variant.form}"
        return Sensitivity((), f"{note}: their tensors have no names in common")
    compare = _onnx if source.form == "onnx" else _tflite
    few = samples.first(MAX_SAMPLES)
    try:
        nodes, ratios = compare(source, variant, few)
    except Exception as error:  # the runtimes' errors share no base class
        doing = "comparing the layers of source and variant"
        raise TechniqueError(f"{doing}: {str(error)[:500]}; verify without layers") from error
    layers = tuple(_layers(nodes, ratios))
    return Sensitivity(layers, "" if layers else "layers can not be told: no tensor has the same name in both graphs")


def _layers(nodes: Sequence[_Node], ratios: Mapping[str, float]) -> Iterator[Layer]:
    """Yield a layer for each node that has a ratio of noise to signal; unknown tensors pass on what came in."""
    known: dict[str, float] = {}
    for node in nodes:
        incoming = max((known[name] for name in node.reads if name in known), default=0.0)
        known[node.writes] = ratios.get(node.writes, incoming)
        if node.writes in ratios:
            own = max(0.0, ratios[node.writes] - incoming)
            yield Layer(
                name=node.name or node.writes,
                operator=node.operator,
                sqnr_db=_db(ratios[node.writes]),
                own_sqnr_db=_db(own),
            )


def _db(ratio: float) -> float:
    if not np.isfinite(ratio):
        return -MAX_SQNR_DB
    return float(np.clip(-10 * np.log10(max(ratio, 1e-20)), -MAX_SQNR_DB, MAX_SQNR_DB))


class _Sums:
    """Power of signal and of noise by tensor, added up over requests."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, name: str, source: Array, variant: Array) -> None:
        """Add what both say; of another shape, or not of floats, they are not compared."""
        if source.shape != variant.shape or source.dtype.kind != "f" or variant.dtype.kind != "f":
            return
        signal, noise = self._sums.get(name, (0.0, 0.0))
        exact = source.astype(np.float64)
        difference = exact - variant
        self._sums[name] = (signal + float((exact**2).sum()), noise + float((difference**2).sum()))

    def ratios(self) -> dict[str, float]:
        """Return noise to signal by tensor; what is always 0 is left out."""
        return {name: noise / signal for name, (signal, noise) in self._sums.items() if signal > 0}


def _onnx(source: Model, variant: Model, samples: Samples) -> tuple[list[_Node], dict[str, float]]:
    import onnx

    graphs = [onnx.load_from_string(model.content).graph for model in (source, variant)]
    nodes = [
        _Node(node.name, node.op_type, tuple(node.input), node.output[0])
        for node in graphs[0].node
        if node.output and node.output[0]
    ]
    made = {name for node in graphs[1].node for name in node.output}
    common = [node.writes for node in nodes if node.writes in made][:MAX_LAYERS]
    if not common:
        return nodes, {}
    places = _behind_quantization(graphs[1])
    theirs = [places.get(name, name) for name in common]
    first, second = _exposed(source, common), _exposed(variant, theirs)
    sums = _Sums()
    for feed in samples.feeds(source, BATCH):
        for name, one, other in zip(common, first.run(common, feed), second.run(theirs, feed), strict=True):
            sums.add(name, np.asarray(one), np.asarray(other))
    return nodes, sums.ratios()


def _behind_quantization(graph: Any) -> dict[str, str]:  # noqa: ANN401 - a message of ONNX
    """Return the name of each quantized tensor's dequantized form by its own."""
    quantized = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    return {
        quantized[node.input[0]]: node.output[0]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in quantized
    }


def _exposed(model: Model, names: Sequence[str]) -> Any:  # noqa: ANN401 - a session
    """Open a model with these inner tensors as outputs besides its own."""
    import onnx

    proto = onnx.load_from_string(model.content)
    have = {one.name for one in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in have)
    return open_onnx(proto.SerializeToString())


def _tflite(source: Model, variant: Model, samples: Samples) -> tuple[list[_Node], dict[str, float]]:
    first, second = _Preserved(source), _Preserved(variant)
    common = [node.writes for node in first.nodes if node.writes in second.places][:MAX_LAYERS]
    sums = _Sums()
    if common:
        for feed in samples.feeds(source):
            first.run(feed)
            second.run(feed)
            for name in common:
                sums.add(name, first.value(name), second.value(name))
    return first.nodes, sums.ratios()


class _Preserved:
    """A LiteRT interpreter that keeps what its operators have written."""

    def __init__(self, model: Model) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(
            model_content=model.content, num_threads=1, experimental_preserve_all_tensors=True
        )
        self._runner = self._interpreter.get_signature_runner(SIGNATURE)
        self._details = {one["index"]: one for one in self._interpreter.get_tensor_details()}
        operators = self._interpreter._get_ops_details()  # noqa: SLF001 - there is no public way to the operators
        self.nodes = [
            _Node(
                self._name(one["outputs"][0]),
                one["op_name"],
                tuple(self._name(place) for place in one["inputs"] if place in self._details),
                self._name(one["outputs"][0]),
            )
            for one in operators
            if len(one["outputs"]) and one["outputs"][0] in self._details and one["op_name"] != "DELEGATE"
        ]
        self.places = {
            self._name(one["outputs"][0]): int(one["outputs"][0]) for one in operators if len(one["outputs"])
        }

    def _name(self, place: int) -> str:
        return str(self._details[place]["name"])

    def run(self, feed: Mapping[str, Array]) -> None:
        """Answer one request."""
        self._runner(**feed)

    def value(self, name: str) -> Array:
        """Return what a tensor holds, integers as the numbers that they stand for."""
        place = self.places[name]
        found = np.asarray(self._interpreter.get_tensor(place))
        scale, zero = self._details[place]["quantization"]
        return (found.astype(np.float32) - zero) * np.float32(scale) if scale else found
