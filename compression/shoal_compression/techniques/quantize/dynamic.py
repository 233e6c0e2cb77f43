"""Weights in 8 bits, activations rounded as they come: no samples are needed."""

import tempfile
from pathlib import Path
from typing import ClassVar, Literal

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Form, Model
from shoal_compression.quieting import quiet
from shoal_compression.technique import Progress, Technique
from shoal_compression.techniques.quantize.preparing import check_quantizable, prepared

OPERATORS = ("MatMul", "Gemm", "Attention", "LSTM", "EmbedLayerNormalization")


class Int8Dynamic(Technique):
    """Quantize by ONNX Runtime's dynamic quantizer.

    Each request's activations get the range that they have, which costs time in exchange for calibration: for models
    of matrix products (transformers, recurrent ones) rather than of convolutions.
    """

    technique: Literal["int8-dynamic"] = "int8-dynamic"
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    per_channel: bool = True
    convolutions: bool = True
    """Whether convolutions are quantized as well, which makes them smaller and slower."""

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the quantized model.

        Raises:
            TechniqueError: There is nothing to quantize.
        """
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        doing = f"applying {self.name}"
        progress(self.name, 0, 1)
        proto = prepared(model, doing)
        operators = [*OPERATORS, *(["Conv"] if self.convolutions else [])]
        if not any(node.op_type in {"LSTM", "Attention"} for node in proto.graph.node):
            check_quantizable(proto, doing)
        with tempfile.TemporaryDirectory() as folder, quiet():
            out = Path(folder) / "out.onnx"
            quantize_dynamic(
                proto,
                out,
                op_types_to_quantize=operators,
                per_channel=self.per_channel,
                weight_type=QuantType.QUInt8,  # of signed ones the runtime has no integer convolution
            )
            made = onnx.load(out)
        if not any(node.op_type.startswith("DynamicQuantize") for node in made.graph.node):
            found = sorted({node.op_type for node in proto.graph.node})
            msg = f"{doing}: none of {', '.join(operators)} with constant weights among {found[:12]}"
            raise TechniqueError(f"{msg}; set convolutions, or use int8-static")
        progress(self.name, 1, 1)
        return model.with_content(made.SerializeToString(), precision="int8 weights")
