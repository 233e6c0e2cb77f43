"""Weights of matrix products in 4 bits, in blocks with a scale each. Products are computed in float32."""

import tempfile
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from shoal_compression.budget import Budget
from shoal_compression.data import Data
from shoal_compression.errors import TechniqueError
from shoal_compression.model import Form, Model
from shoal_compression.quieting import quiet
from shoal_compression.technique import Progress, Technique
from shoal_compression.techniques.quantize.preparing import constants, prepared, weighted_nodes


class Int4Weights(Technique):
    """Quantize the constant side of matrix products to 4 bits by ONNX Runtime's `MatMulNBits` (or block-wise QDQ).

    Convolutions stay as they are: no runtime has them in 4 bits. With a scale for 32 of them, weights take 5 bits.
    """

    technique: Literal["int4-weights"] = "int4-weights"
    takes: ClassVar[frozenset[Form]] = frozenset({"onnx"})
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    block: Literal[16, 32, 64, 128] = 32
    """Weights along the sum that share a scale."""
    symmetric: bool = True
    form: Literal["operator", "qdq"] = "operator"
    """`qdq`: DequantizeLinear of ONNX opset 21, for runtimes without `MatMulNBits`."""

    def make(self, model: Model, data: Data, budget: Budget, progress: Progress) -> Model:
        """Return the quantized model.

        Raises:
            TechniqueError: The model has no matrix product with a constant.
        """
        from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
        from onnxruntime.quantization.onnx_model import ONNXModel
        from onnxruntime.quantization.quant_utils import QuantFormat

        doing = f"applying {self.name}"
        progress(self.name, 0, 1)
        proto = prepared(model, doing, opset=21 if self.form == "qdq" else 13)
        wrapped = ONNXModel(proto)
        wrapped.replace_gemm_with_matmul()
        large = [one for one in weighted_nodes(wrapped.model) if one.op_type == "MatMul"]
        held = constants(wrapped.model)
        if not any(np.prod(held[one.input[1]].dims) >= self.block for one in large):
            found = sorted({node.op_type for node in proto.graph.node})
            msg = f"{doing}: no MatMul or Gemm with constant weights among {found[:12]}"
            raise TechniqueError(f"{msg}; convolutions have no 4 bits in the runtime: use int8-static")
        form = QuantFormat.QDQ if self.form == "qdq" else QuantFormat.QOperator
        config = DefaultWeightOnlyQuantConfig(block_size=self.block, is_symmetric=self.symmetric, quant_format=form)
        with quiet(), tempfile.TemporaryDirectory() as folder:
            quantizer = MatMulNBitsQuantizer(wrapped.model, algo_config=config)
            quantizer.process()
            out = Path(folder) / "out.onnx"
            quantizer.model.save_model_to_file(str(out), False)  # noqa: FBT003 - ONNX Runtime's own form
            content = out.read_bytes()
        progress(self.name, 1, 1)
        return model.with_content(content, precision="int4 weights")
