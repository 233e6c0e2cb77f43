"""Quantizes a float `.tflite` file by Google's ai-edge-quantizer, operator by operator, as rules say.

It needs no TensorFlow, so that a model which came as LiteRT can be compressed on a small hub.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import Field

from shoal_compression.data import Samples
from shoal_compression.errors import TechniqueError
from shoal_compression.litert_file import check_quantizable
from shoal_compression.model import SIGNATURE, Model
from shoal_compression.quieting import quiet
from shoal_compression.values import Value

Algorithm = Literal["min-max", "mse", "octav"]
"""How the scale of a weight is chosen: by its largest element, by the least squared error, or by OCTAV's clipping
(Sakr et al. 2022, arXiv 2206.06501)."""
Compute = Literal["static", "dynamic", "weights", "float16", "float32"]
"""`static`: integers by calibrated ranges; `dynamic`: activations are quantized as they come; `weights`: they are
widened, and computing is in float; `float16`: the same of float16; `float32`: left alone."""
NOTHING: Final = "no operator fits the rules; name layers and operators as the file does"
_ALGORITHMS: Final = {"min-max": "min_max_uniform_quantize", "mse": "MSE", "octav": "OCTAV"}


class Rule(Value):
    """What becomes of some operators. The last rule that fits an operator counts; what none fits stays float32."""

    layers: str = Field(default=".*", max_length=200)
    """A regular expression that is searched for in the name of an operator's output."""
    operators: str = Field(default="*", max_length=64)
    """`*` for all, or one of LiteRT's names, such as `FULLY_CONNECTED`."""
    compute: Compute = "static"
    weight_bits: Literal[4, 8] = 8
    activation_bits: Literal[8, 16] = 8
    """Of `static` alone."""
    algorithm: Algorithm = "min-max"


def quantize_litert(model: Model, rules: Sequence[Rule], calibration: Samples, threads: int = 1) -> bytes:
    """Return the file with its rules applied; inputs and outputs stay as they are.

    Raises:
        SourceError: The file has no signature, is quantized already, or has open sizes.
        TechniqueError: A rule asks for what no kernel can compute, or changes nothing.
    """
    check_quantizable(model)
    from ai_edge_quantizer import quantizer

    with quiet():
        try:
            made = quantizer.Quantizer(bytearray(model.content), _recipe(rules))
            ranges = None
            if made.need_calibration:
                singles = list(calibration.feeds(model))
                ranges = made.calibrate({SIGNATURE: singles}, num_threads=threads)
            is_idle = ranges is not None and not ranges
            content = None if is_idle else made.quantize(ranges, enable_progress_report=False).quantized_model
        except Exception as error:  # the quantizer's errors share no base class
            msg = f"quantizing a LiteRT model: {str(error)[:500]}"
            raise TechniqueError(f"{msg}; leave those operators in float32 by a rule of litert-mixed") from error
    if content is None or bytes(content) == model.content:
        raise TechniqueError(f"quantizing a LiteRT model: {NOTHING}")
    return bytes(content)


def _recipe(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    from ai_edge_quantizer import qtyping, recipe_manager

    manager = recipe_manager.RecipeManager()
    kinds = qtyping.TFLOperationName
    for place, rule in enumerate(rules):
        scope = f"(?#{place})(?:{rule.layers})"  # two rules of one scope would be read in another order
        manager.add_quantization_config(scope, kinds(rule.operators), _config(rule), _algorithm(rule))
    for end in (kinds.INPUT, kinds.OUTPUT):  # they would become integers, which callers would have to scale
        manager.add_quantization_config("(?#ends)", end, algorithm_key="no_quantize")
    recipe: list[dict[str, Any]] = manager.get_quantization_recipe()
    return recipe


def _config(rule: Rule) -> Any:  # noqa: ANN401 - the quantizer has no types
    from ai_edge_quantizer import qtyping

    is_half = rule.compute == "float16"
    tensor, kind = qtyping.TensorQuantizationConfig, qtyping.TensorDataType
    if rule.compute == "float32":
        return None
    is_symmetric = rule.activation_bits == 16  # noqa: PLR2004 - LiteRT's kernels want it of int16, and not of int8
    activations = tensor(num_bits=rule.activation_bits, symmetric=is_symmetric)
    return qtyping.OpQuantizationConfig(
        activation_tensor_config=activations if rule.compute == "static" else None,
        weight_tensor_config=tensor(
            num_bits=16 if is_half else rule.weight_bits,
            granularity=qtyping.QuantGranularity.TENSORWISE if is_half else qtyping.QuantGranularity.CHANNELWISE,
            dtype=kind.FLOAT if is_half else kind.INT,
        ),
        compute_precision=(
            qtyping.ComputePrecision.INTEGER
            if rule.compute in {"static", "dynamic"}
            else qtyping.ComputePrecision.FLOAT
        ),
        explicit_dequantize=rule.compute in {"weights", "float16"},
    )


def _algorithm(rule: Rule) -> str:
    plain = {"float32": "no_quantize", "float16": "float_casting"}
    return plain.get(rule.compute, _ALGORITHMS[rule.algorithm])
