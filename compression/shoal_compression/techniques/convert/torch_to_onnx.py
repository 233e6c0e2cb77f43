"""A PyTorch model as ONNX in float32, by PyTorch's own exporter."""

import io
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.extras import need
from shoal_compression.model import Form, Model
from shoal_compression.quieting import quiet
from shoal_compression.running import outputs_of
from shoal_compression.technique import Progress, Technique
from shoal_compression.techniques.convert.same_answers import check_same

COMPARED: Final = 8
_DOING: Final = "converting a PyTorch model to ONNX"


class TorchToOnnx(Technique):
    """Convert an exported program (`.pt2`) to ONNX with the model's names, and compare what both compute."""

    technique: Literal["torch-to-onnx"] = "torch-to-onnx"
    opset: int = Field(default=18, ge=18, le=21)
    """18 is the exporter's oldest."""
    takes: ClassVar[frozenset[Form]] = frozenset({"torch"})
    gives: ClassVar[Form | None] = "onnx"
    is_lossless: ClassVar[bool] = True
    tools: ClassVar[tuple[str, ...]] = ("torch", "onnxscript", "onnx")

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the model as `.onnx`.

        Raises:
            TechniqueError: The exporter does not know an operator, or writes one that computes something else.
        """
        need(_DOING, "onnxscript")
        content = self._exported(model)
        made = model.with_content(content, form="onnx")
        few = data.calibration.first(COMPARED if model.is_batched else 1)
        expected, found = (outputs_of(one, few, budget.threads) for one in (model, made))
        check_same(expected, found, _DOING, "an operator is exported wrongly; bring the model as ONNX")
        return made

    def _exported(self, model: Model) -> bytes:
        import onnx
        import torch

        program = torch.export.load(io.BytesIO(model.content))
        inputs, outputs = ([spec.name for spec in specs] for specs in (model.inputs, model.outputs))
        ends: dict[str, Any] = {"input_names": inputs, "output_names": outputs}
        try:
            with quiet():
                exported: Any = torch.onnx.export(program, dynamo=True, opset_version=self.opset, verbose=False, **ends)
        except Exception as error:  # the exporter's errors share no base class
            said = f"{_DOING}: {(str(error).strip() or repr(error)).splitlines()[0][:500]}"
            raise TechniqueError(f"{said}; replace that operator, or convert to LiteRT with torch-to-litert") from error
        proto = exported.model_proto
        for node in proto.graph.node:
            del node.metadata_props[:]  # where in whose source it came from
        onnx.checker.check_model(proto, full_check=True)
        return bytes(proto.SerializeToString(deterministic=True))
