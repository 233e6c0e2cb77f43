"""A Keras model as ONNX in float32, so that the techniques for ONNX can work on it."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.extras import need
from shoal_compression.keras_file import answers, open_keras
from shoal_compression.model import Form, Model
from shoal_compression.quieting import quiet
from shoal_compression.running import outputs_of
from shoal_compression.technique import Progress, Technique
from shoal_compression.techniques.convert.same_answers import check_same

COMPARED: Final = 8
MADE_UP: Final = re.compile(r"__(\d+)(?=$|[:/])")


class ToOnnx(Technique):
    """Convert Keras to ONNX by tf2onnx, with the model's names, and compare what both compute."""

    technique: Literal["to-onnx"] = "to-onnx"
    opset: int = Field(default=17, ge=13, le=18)
    """17 is the oldest that all techniques can work with; devices keep old runtimes for long."""
    takes: ClassVar[frozenset[Form]] = frozenset({"keras"})
    gives: ClassVar[Form | None] = "onnx"
    is_lossless: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("tensorflow", "keras", "tf2onnx", "onnx")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the model as `.onnx`.

        Raises:
            TechniqueError: The exporter does not know a layer, or writes one that computes something else.
        """
        import onnx

        need("converting a Keras model to ONNX", "tf2onnx")  # the exporter imports it, where its errors are all alike
        network = open_keras(model)
        few = data.calibration.first(COMPARED if model.is_batched else 1)
        arrays = [next(few.feeds(model, COMPARED))[spec.name] for spec in model.inputs]
        expected = answers(network, arrays)  # the exporter takes only a model that was called once
        with tempfile.TemporaryDirectory() as folder, quiet():
            path = Path(folder) / "model.onnx"
            try:
                network.export(path, format="onnx", opset_version=self.opset, verbose=False)
            except Exception as error:  # the exporter's errors share no base class
                msg = f"converting a Keras model to ONNX: {str(error)[:500]}"
                raise TechniqueError(f"{msg}; replace that layer, or convert to LiteRT with to-litert") from error
            proto = onnx.load(path)
        _number_anew(proto.graph)
        _name_ends(proto.graph, model)
        made = model.with_content(proto.SerializeToString(deterministic=True), form="onnx")
        named = dict(zip([spec.name for spec in model.outputs], expected, strict=True))
        remedy = "a layer is exported wrongly; replace it, or convert to LiteRT with to-litert"
        check_same(named, outputs_of(made, few, budget.threads), "converting a Keras model to ONNX", remedy)
        return made


def _name_ends(graph: Any, model: Model) -> None:  # noqa: ANN401 - a message of ONNX
    """Rename inputs and outputs in place, and call the first size of each `batch` where it is one."""
    ends = [*zip(graph.input, model.inputs, strict=True), *zip(graph.output, model.outputs, strict=True)]
    names = {value.name: spec.name for value, spec in ends}
    _rename(graph, lambda name: names.get(name, name))
    for value, spec in ends:
        if spec.shape and spec.shape[0] == -1:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _number_anew(graph: Any) -> None:  # noqa: ANN401 - as above
    """Name anew what tf2onnx makes up: it counts on through the process, and picks among equal constants at random."""
    used = {name: place for place, name in enumerate(name for node in graph.node for name in node.input)}
    constants = sorted(graph.initializer, key=lambda tensor: used.get(tensor.name, -1))
    del graph.initializer[:]
    graph.initializer.extend(constants)
    fresh = [tensor.name for tensor in constants if MADE_UP.search(tensor.name)]
    names = {name: f"constant__{place}" for place, name in enumerate(fresh)}
    numbers: dict[str, int] = {}

    def renamed(name: str) -> str:
        return names.get(name) or MADE_UP.sub(lambda found: f"__{numbers.setdefault(found[1], len(numbers))}", name)

    _rename(graph, renamed)
    graph.doc_string = ""


def _rename(graph: Any, renamed: Callable[[str], str]) -> None:  # noqa: ANN401 - as above
    """Rename all nodes and tensors in place, those of bodies of loops and branches as well."""
    for node in graph.node:
        node.name = renamed(node.name)
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                _rename(body, renamed)
    for part in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        part.name = renamed(part.name)
