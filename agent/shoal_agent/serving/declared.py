"""The friendly call to a version whose manifest declares what is done to its inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from shoal_agent.endpoint import RequestError
from shoal_agent.engines import Array
from shoal_agent.processing import MissingColumnError, Pipeline, Prepared, ProcessingError
from shoal_contract.manifest import VersionManifest
from shoal_contract.processing import ClassesOutput

_MOST_SAMPLES: Final = 4096
"""Of one request."""


def prepare(features: object, manifest: VersionManifest) -> Prepared:
    """Make the inputs of one sample, or of several, from what its asker knows.

    Args:
        features: An image's bytes; or a mapping of one sample, or a list of them, by the columns' names.
        manifest: The version's.

    Raises:
        RequestError: They are none, or one of them cannot be made an input.
    """
    pipeline = Pipeline(manifest)
    samples = _samples(features, pipeline)
    names = dict.fromkeys(name for sample in samples for name in sample)
    columns = {name: _column([sample.get(name) for sample in samples]) for name in names}
    try:
        prepared = pipeline.prepare(columns, len(samples))
    except MissingColumnError as error:
        raise RequestError(str(error), remedy=error.remedy, misfit="missing") from error
    except ProcessingError as error:
        raise RequestError(str(error), remedy=error.remedy) from error
    if prepared.refused:
        place, reason = next(iter(sorted(prepared.refused.items())))
        where = f"sample {place} of {len(samples)}: " if len(samples) > 1 else ""
        raise RequestError(f"{where}{reason}", remedy="send what the model was declared to take, or leave it out")
    return prepared


def predictions(outputs: Mapping[str, Array], prepared: Prepared, manifest: VersionManifest) -> list[dict[str, Any]]:
    """Return what the outputs mean, by sample: label and confidence of a class, else all columns by name.

    Raises:
        RequestError: An output is not what is declared of it.
    """
    try:
        columns = Pipeline(manifest).read(outputs, prepared)
    except ProcessingError as error:
        raise RequestError(str(error), remedy=error.remedy) from error
    rows = [{name: _plain(column[place]) for name, column in columns.items()} for place in range(len(prepared.kept))]
    meant = manifest.processing.outputs if manifest.processing is not None else {}
    if len(meant) == 1:
        name, what = next(iter(meant.items()))
        if isinstance(what, ClassesOutput) and what.top == 1 and what.threshold is None:
            return [_of_class(name, row) for row in rows]
    return [{"prediction": row, "confidence": None} for row in rows]


def _samples(features: object, pipeline: Pipeline) -> list[dict[str, Any]]:
    if isinstance(features, bytes | bytearray | memoryview):
        if pipeline.image_input is None:
            raise RequestError("an image was sent, but the model's manifest declares no input that is made of one")
        return [{pipeline.image_input: bytes(features)}]
    samples: list[Any] = features if isinstance(features, list) else [features]
    if not 0 < len(samples) <= _MOST_SAMPLES or not all(isinstance(sample, dict) for sample in samples):
        message = f"features: expected values by their names, or a list of up to {_MOST_SAMPLES} of them"
        raise RequestError(message, remedy='send JSON such as {"features": {"age": 41, "colour": "red"}}')
    return samples


def _column(values: list[Any]) -> Array:
    if all(type(value) in {int, float} for value in values):
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError as error:
            raise RequestError("features: a number is beyond the range of 64-bit floats") from error
    column = np.empty(len(values), dtype=np.object_)
    column[:] = values
    return column


def _of_class(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    index, score = row[f"{name}.index"], row[f"{name}.score"]
    return {"prediction": row.get(f"{name}.label", index), "label": index, "confidence": score}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a number, text, or an array of them
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
