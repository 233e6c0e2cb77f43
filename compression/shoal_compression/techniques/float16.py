"""Weights in float16: half the size, and no data is needed. The processor still computes in float32."""

from typing import Any, ClassVar, Literal

import numpy as np

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Form, Model
from shoal_compression.technique import Progress, Technique

MIN_ELEMENTS = 16
"""A smaller tensor stays as it is: the node that casts it would take more."""
LARGEST = float(np.finfo(np.float16).max)


class Float16(Technique):
    """Keep float32 weights of at least `MIN_ELEMENTS` elements in float16, each cast to float32 where it is used.

    ONNX Runtime folds the casts when it loads the file, so that latency and memory stay those of float32.
    """

    technique: Literal["float16"] = "float16"
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    tools: ClassVar[tuple[str, ...]] = ("onnx",)

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the model with its weights halved.

        Raises:
            TechniqueError: There is no weight to halve, or one is larger than float16 can hold.
        """
        import onnx

        proto = onnx.load_from_string(model.content)
        large = [one for one in proto.graph.initializer if _is_large(one)]
        if not large:
            found = f"no float32 weight of {MIN_ELEMENTS} elements or more found"
            raise TechniqueError(f"applying {self.name}: {found}; leave this step out")
        casts = []
        for done, tensor in enumerate(large):
            progress("float16", done, len(large))
            casts.append(_halve(tensor))
        for place, node in enumerate(casts):
            proto.graph.node.insert(place, node)
        progress("float16", len(large), len(large))
        return model.with_content(proto.SerializeToString(), precision="float16 weights")


def _is_large(tensor: Any) -> bool:  # noqa: ANN401 - a message of ONNX
    from onnx import TensorProto

    return bool(tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= MIN_ELEMENTS)


def _halve(tensor: Any) -> Any:  # noqa: ANN401 - as above
    """Change a weight in place, and return the node that gives it its old name and datatype."""
    from onnx import TensorProto, helper, numpy_helper

    values = numpy_helper.to_array(tensor)
    peak = float(np.abs(values).max())
    if not peak <= LARGEST:
        found = f"{tensor.name} has a weight of {peak:g}, at most {LARGEST:g} expected"
        raise TechniqueError(f"making weights float16: {found}; quantize it to int8, or leave it in float32")
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
    return helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.cast", to=TensorProto.FLOAT)
