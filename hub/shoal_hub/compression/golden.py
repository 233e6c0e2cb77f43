"""The golden input of a version that has none yet, and what a compressed file answers to a golden input."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from shoal_compression.data import Samples
from shoal_compression.golden import golden_answer, golden_request, stated_whole
from shoal_compression.model import Model
from shoal_contract.manifest import GeneratedTensor, TensorData
from shoal_numerics.golden_tensors import golden_array
from shoal_numerics.tensors import Array

FLOAT_TOLERANCE: Final = 1e-2
"""Of the largest golden output, at least of 1: what another processor's order of summing, or float16, may change."""
INTEGER_TOLERANCE: Final = 0.15
"""The same of quantized files, whose kernels differ between processors; how accurate they are there, devices say."""
_STATED: Final = TypeAdapter(dict[str, TensorData | GeneratedTensor])


def golden_inputs(stated: Mapping[str, Any]) -> dict[str, Array]:
    """Return a version's golden input as arrays."""
    return {name: golden_array(tensor) for name, tensor in _STATED.validate_python(dict(stated)).items()}


def make_golden_inputs(reference: Model, samples: Samples, seed: int = 0) -> dict[str, TensorData | GeneratedTensor]:
    """Choose a golden input as compression does.

    Raises:
        CompressionError: One sample is too large for a manifest, or the source does not run on it.
    """
    return stated_whole(golden_request(reference, samples, seed))


def golden_outputs(model: Model, inputs: Mapping[str, Array]) -> tuple[dict[str, Any], float]:
    """Return what a file answers to a golden input, as JSON, and how far a device's answer may be from it."""
    answers, tolerance = golden_answer(
        model, inputs, INTEGER_TOLERANCE if "int" in model.precision else FLOAT_TOLERANCE
    )
    return {name: tensor.model_dump(mode="json") for name, tensor in answers.items()}, tolerance
