"""The golden input of a version that has none yet, and what a compressed file answers to a golden input."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter

from shoal_compression.data import Samples
from shoal_compression.model import Model
from shoal_compression.running import load, outputs_of
from shoal_contract.manifest import GeneratedTensor, TensorData
from shoal_hub.errors import JobError
from shoal_numerics.golden_tensors import GOLDEN_BYTES, golden_array, golden_output
from shoal_numerics.tensors import Array, to_tensor_data

GOLDEN_SAMPLES: Final = 4
FLOAT_TOLERANCE: Final = 1e-2
"""Of the largest golden output, at least of 1: what another processor's order of summing, or float16, may change."""
INTEGER_TOLERANCE: Final = 0.15
"""The same of quantized files, whose kernels differ between processors; how accurate they are there, devices say."""
_STATED: Final = TypeAdapter(dict[str, TensorData | GeneratedTensor])


def golden_inputs(stated: Mapping[str, Any]) -> dict[str, Array]:
    """Return a version's golden input as arrays."""
    return {name: golden_array(tensor) for name, tensor in _STATED.validate_python(dict(stated)).items()}


def make_golden_inputs(reference: Model, samples: Samples) -> dict[str, TensorData]:
    """Choose a few samples of which the source is surest: where it wavers, rounding alone would move the answer.

    Raises:
        JobError: One sample is too large for a manifest.
    """
    each = sum(array[:1].nbytes for array in samples.inputs.values())
    if each > GOLDEN_BYTES:
        raise JobError(
            f"choosing a golden input: one sample has {each} bytes, at most {GOLDEN_BYTES} fit a manifest; "
            "make a variant first: shoal models compress --technique unmodified"
        )
    few = samples.first(256)
    scores = outputs_of(reference, few)[reference.outputs[0].name].reshape(len(few), -1)
    most = max(1, min(GOLDEN_SAMPLES, len(few), GOLDEN_BYTES // each)) if reference.is_batched else 1
    chosen = np.argsort(-scores.max(axis=1), kind="stable")[:most]
    kept = few.at(chosen)
    arrays = kept.inputs if reference.is_batched else {name: array[0] for name, array in kept.inputs.items()}
    return {name: to_tensor_data(np.ascontiguousarray(array)) for name, array in arrays.items()}


def golden_outputs(model: Model, inputs: Mapping[str, Array]) -> tuple[dict[str, Any], float]:
    """Return what a file answers to a golden input, as JSON, and how far a device's answer may be from it."""
    answers = load(model)(inputs)
    largest = [float(np.abs(np.nan_to_num(array.astype(np.float64))).max(initial=0.0)) for array in answers.values()]
    ratio = INTEGER_TOLERANCE if "int" in model.precision else FLOAT_TOLERANCE
    stated = {name: golden_output(array).model_dump(mode="json") for name, array in answers.items()}
    return stated, ratio * max(1.0, *largest)
