"""From prepared samples to answers: in batches as the model takes them, and one by one where a batch fails."""

from __future__ import annotations

import numpy as np

from shoal_agent.batch.answers import Columns, joined
from shoal_agent.batch.errors import BatchError
from shoal_agent.engines import Array, EngineError, run_golden
from shoal_agent.processing import Pipeline, Prepared
from shoal_agent.serving import ServedModel


class Answering:
    """Asks a loaded model.

    Args:
        served: The model.
        pipeline: Its processing.
        batch_size: Samples that it is asked at a time; a model of a fixed batch decides by itself.
    """

    def __init__(self, served: ServedModel, pipeline: Pipeline, batch_size: int) -> None:
        self._served = served
        self._pipeline = pipeline
        if not served.manifest.is_batched:
            message = f"asking {served.name} version {served.version}: a request of it is one sample, batches are none"
            raise BatchError(message, "ask it request by request, over /v2/models/{name}/infer")
        sizes = {spec.shape[0] for spec in served.engine.inputs if spec.shape} - {-1}
        if len(sizes) > 1:
            raise BatchError(f"asking {served.name}: its inputs have batches of {sorted(sizes)}, one size expected")
        self._fixed = next(iter(sizes), None)
        self.batch_size = self._fixed or batch_size

    def answer(self, prepared: Prepared) -> tuple[Columns, list[int], dict[int, str]]:
        """Answer at most `batch_size` samples.

        Returns:
            Columns of those that were answered, their places in what came, and the reasons of the others by place.

        Raises:
            EngineError: The model fails on its own golden input, too.
            ProcessingError: An output is not what the manifest declares.
        """
        places = prepared.kept.tolist()
        try:
            return self._ask(prepared), places, {}
        except EngineError as error:
            if len(places) == 1:
                self._check_model()
                return {}, [], {places[0]: str(error)}
        found: list[tuple[int, Columns]] = []
        refused: dict[int, str] = {}
        for at, place in enumerate(places):
            try:
                found.append((place, self._ask(sliced(prepared, at, at + 1))))
            except EngineError as error:
                refused[place] = str(error)
        if not found:
            self._check_model()
            return {}, [], refused
        columns = {name: joined([one[name] for _, one in found]) for name in found[0][1]}
        return columns, [place for place, _ in found], refused

    def _ask(self, prepared: Prepared) -> Columns:
        count = len(prepared.kept)
        outputs = self._served.engine.infer({name: self._filled(array) for name, array in prepared.inputs.items()})
        for name, output in outputs.items():
            if output.ndim == 0 or len(output) != (self._fixed or count):
                message = (
                    f"asking {self._served.name}: output {name!r} has shape {list(output.shape)} for {count} samples"
                )
                raise BatchError(message, "a batch job needs a model that answers each sample by itself")
        return self._pipeline.read({name: output[:count] for name, output in outputs.items()}, prepared)

    def _filled(self, array: Array) -> Array:
        """Fill a last batch up with its last sample, for a model of a fixed batch."""
        short = (self._fixed or len(array)) - len(array)
        full = np.concatenate([array, np.repeat(array[-1:], short, axis=0)]) if short > 0 else array
        return np.ascontiguousarray(full)

    def _check_model(self) -> None:
        """See whether the model still answers at all.

        Raises:
            EngineError: It does not.
        """
        manifest = self._served.manifest
        run_golden(self._served.engine, manifest, manifest.variant_for(self._served.target))


def sliced(prepared: Prepared, begin: int, end: int) -> Prepared:
    """Return some of the prepared samples."""
    inputs = {name: array[begin:end] for name, array in prepared.inputs.items()}
    return Prepared(inputs, prepared.kept[begin:end], {}, prepared.placements[begin:end])
