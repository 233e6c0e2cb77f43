"""Golden inputs, which devices run before they serve a file, and what a file answers to them."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from pydantic import ValidationError

from shoal_compression.data import Samples
from shoal_compression.errors import SourceError
from shoal_compression.model import Model
from shoal_compression.running import answers_of, ask, load
from shoal_contract.limits import MAX_TENSOR_BYTES
from shoal_contract.manifest import GeneratedTensor, SampledTensor, TensorData
from shoal_numerics.golden_tensors import GOLDEN_BYTES, golden_output
from shoal_numerics.tensors import DATATYPES, Array, bytes_array, to_tensor_data

GOLDEN_SAMPLES: Final = 4
GOLDEN_CONFIDENCE: Final = 0.9
_LOOKED_AT: Final = 256
"""Samples among which those are chosen."""


def golden_request(model: Model, samples: Samples, seed: int) -> dict[str, Array]:
    """Choose a few samples that the model is sure of: where it wavers, rounding alone would move the answer.

    Raises:
        TechniqueError: The model can not be run on them.
    """
    few = samples.first(_LOOKED_AT)
    confidence = np.concatenate([_confidence(part, model) for part in answers_of(model, few)])
    sure = np.flatnonzero(confidence >= GOLDEN_CONFIDENCE)
    pool = sure if len(sure) >= GOLDEN_SAMPLES else np.argsort(-confidence, kind="stable")[:GOLDEN_SAMPLES]
    fit = max(1, GOLDEN_BYTES // max(array[:1].nbytes for array in few.inputs.values()))
    count = min(GOLDEN_SAMPLES, len(pool), fit) if model.is_batched else 1
    chosen = few.at(np.random.default_rng(seed).choice(pool, count, replace=False))
    return next(chosen.feeds(model, count))


def _confidence(answer: Mapping[str, Array], model: Model) -> Array:
    """Return the largest number of the first output for each sample of a request, (n,) float64."""
    scores = answer[model.outputs[0].name].astype(np.float64)
    largest: Array = scores.reshape(len(scores) if model.is_batched else 1, -1).max(axis=1, initial=-np.inf)
    return largest


def stated_whole(request: Mapping[str, Array]) -> dict[str, TensorData | GeneratedTensor]:
    """Return a golden input as a manifest states it, all numbers of it.

    Raises:
        SourceError: It is too large.
    """
    for name, array in request.items():
        if array.nbytes > MAX_TENSOR_BYTES:
            found = f"one sample of {name} has {array.nbytes} bytes, at most {MAX_TENSOR_BYTES} fit a manifest"
            raise SourceError(f"choosing a golden input: {found}; roll the model out with the technique unmodified")
    return {name: to_tensor_data(_on_the_wire(array)) for name, array in request.items()}


def stated_or_generated(request: Mapping[str, Array], seed: int) -> dict[str, TensorData | GeneratedTensor]:
    """Return a golden input as a manifest states it; of a large tensor, random numbers as wide as the samples'.

    Raises:
        SourceError: A tensor is too large even for that, or has values that are not finite.
    """
    return {
        name: to_tensor_data(_on_the_wire(array)) if _travels(array) else _generated(name, array, seed)
        for name, array in request.items()
    }


def _travels(array: Array) -> bool:
    return array.nbytes <= GOLDEN_BYTES or array.dtype.kind == "O"


def _on_the_wire(array: Array) -> Array:
    """Return an array as a manifest takes it: texts in UTF-8."""
    if array.dtype.kind != "O":
        return array
    return bytes_array([text.encode() for text in array.flat]).reshape(array.shape)


def _generated(name: str, array: Array, seed: int) -> GeneratedTensor:
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise SourceError(f"choosing a golden input: {name} has values that are not finite; leave them out")
    try:
        return GeneratedTensor(datatype=DATATYPES[array.dtype], shape=array.shape, seed=seed, low=low, high=high)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise SourceError(f"choosing a golden input: {name}: {reason}; bring smaller samples") from error


def golden_answer(
    model: Model, request: Mapping[str, Array], ratio: float
) -> tuple[dict[str, TensorData | SampledTensor], float]:
    """Return what a file answers to a golden input, and how far a device's answer may be from it.

    Args:
        model: The file.
        request: Arrays by input.
        ratio: Of the largest golden output, at least of 1: what another processor's rounding may change.

    Raises:
        TechniqueError: The file does not load, or does not take the input.
    """
    answers = ask(load(model), request, model)
    largest = [float(np.abs(np.nan_to_num(array.astype(np.float64))).max(initial=0.0)) for array in answers.values()]
    return {name: golden_output(array) for name, array in answers.items()}, ratio * max(1.0, *largest)
