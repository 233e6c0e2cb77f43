"""The model of a pipeline: features of a window, and the latest of other definitions, in; what it answers, out."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio.to_thread
import numpy as np

from shoal_agent.engines import NUMPY_TYPES, Array
from shoal_agent.errors import AgentError
from shoal_agent.features.errors import FeaturesError
from shoal_agent.features.store import FeatureStore
from shoal_agent.serving import ModelServer, Observer, OnDemand, ServedModel
from shoal_contract.features import FeatureDefinition, ModelStep
from shoal_numerics.features import WindowRows

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ModelAnswer(NamedTuple):
    """What a model says of one window.

    Attributes:
        id: What the answer is called; its true labels may come back under this.
        model: Its name.
        version: The version that answered.
        outputs: By name, nested lists.
    """

    id: str
    model: str
    version: int
    outputs: dict[str, Any]


@dataclass
class ModelCounts:
    """What became of windows: `answered`, `incomplete` for want of a value without a fallback, or `failed`."""

    answered: int = 0
    incomplete: int = 0
    failed: int = 0


class ModelCall:
    """Asks a served model about windows of the first definition. Belongs to the event loop.

    Args:
        step: Which model, and its input.
        definitions: The pipeline's, in order.
        server: What is served.
        observer: Sees what was answered, as of requests over HTTP.
        store: The latest values of definitions other than the first.
        on_demand: Has the model loaded where it gave way to others; None: it never does.

    Raises:
        FeaturesError: The input names a feature that there is not.
    """

    def __init__(
        self,
        step: ModelStep,
        definitions: Mapping[str, FeatureDefinition],
        server: ModelServer,
        observer: Observer,
        store: FeatureStore,
        on_demand: OnDemand | None = None,
    ) -> None:
        self._step = step
        self._definition = next(iter(definitions))
        self._server = server
        self._observer = observer
        self._store = store
        self._on_demand = on_demand
        self._wanted = [tuple(reference.split("/", 1)) for reference in step.features]
        self._features = dict(sorted(definitions[self._definition].features.items()))
        self._others = sorted({definition for definition, _ in self._wanted} - {self._definition})
        for definition, feature in self._wanted:
            if definition not in definitions or feature not in definitions[definition].features:
                message = f"building the input of model {step.name!r}: there is no feature {definition}/{feature}"
                raise FeaturesError(message, "name features of the pipeline's own definitions")
        self._start = secrets.token_hex(4)
        self._answers = itertools.count(1)
        self.counts = ModelCounts()
        self.problem: AgentError | None = None
        """Why the last windows got no answer."""

    async def answer(self, rows: WindowRows) -> list[ModelAnswer | None]:
        """Return what the model says of each window, None where it says nothing."""
        inputs = await anyio.to_thread.run_sync(self._inputs, rows)
        is_whole = ~np.isnan(inputs).any(axis=1)
        answers: list[ModelAnswer | None] = [None] * len(inputs)
        self.counts.incomplete += int((~is_whole).sum())
        whole = np.flatnonzero(is_whole)
        if not len(whole):
            return answers
        try:
            if self._on_demand is not None and self._on_demand.is_away(self._step.name):
                await self._on_demand.bring(self._step.name)
            with self._server.borrow(self._step.name) as served:
                if served is None:
                    message = f"asking the model {self._step.name!r}: it is not served on this device"
                    raise FeaturesError(message, "roll it out to this device")
                found = await anyio.to_thread.run_sync(self._infer, served, inputs[whole])
        except AgentError as error:
            self.problem = error
            self.counts.failed += len(whole)
            return answers
        self.problem = None
        self.counts.answered += len(whole)
        for row, one in zip(whole.tolist(), found, strict=True):
            answers[row] = one
        return answers

    def _inputs(self, rows: WindowRows) -> NDArray[np.float64]:
        """Return the model's inputs, (w, elements) float64, NaN where there is neither a value nor a fallback."""
        columns = list(self._features)
        fallbacks = np.array([np.nan if one.fallback is None else one.fallback for one in self._features.values()])
        own = np.where(np.isnan(rows.values), fallbacks, rows.values)
        inputs = np.full((len(rows.entities), len(self._wanted)), np.nan)
        for place, (definition, feature) in enumerate(self._wanted):
            if definition == self._definition:
                inputs[:, place] = own[:, columns.index(feature)]
        for row, entity in enumerate(rows.entities if self._others else []):
            held = self._store.read(entity, self._others)
            for place, (definition, feature) in enumerate(self._wanted):
                if definition != self._definition:
                    value = held[f"{definition}/{feature}"].value
                    inputs[row, place] = np.nan if value is None else value
        return inputs

    def _infer(self, served: ServedModel, inputs: NDArray[np.float64]) -> list[ModelAnswer]:
        spec = served.engine.inputs[0]
        is_right = len(served.engine.inputs) == 1 and len(spec.shape) == 2 and spec.shape[1] in {-1, inputs.shape[1]}  # noqa: PLR2004 - samples and elements
        if not is_right or NUMPY_TYPES[spec.datatype].kind != "f" or spec.shape[0] not in {-1, 1}:
            message = (
                f"asking the model {served.name!r} version {served.version}: input {spec.datatype} {list(spec.shape)} "
                f"found, expected one of floating point and shape [-1 or 1, {inputs.shape[1]}]"
            )
            raise FeaturesError(message, "name as many features as the model has inputs")
        batch = inputs.astype(NUMPY_TYPES[spec.datatype])
        parts = [batch] if spec.shape[0] == -1 else np.split(batch, len(batch))
        return [answer for part in parts for answer in self._ask(served, spec.name, part)]

    def _ask(self, served: ServedModel, name: str, part: Array) -> list[ModelAnswer]:
        begun_s = time.perf_counter()
        try:
            outputs = served.engine.infer({name: np.ascontiguousarray(part)})
        except AgentError:
            if not served.members:
                self._observer.observe_error(served)
            raise
        answers = []
        for row in range(len(part)):
            answer_id = f"{self._start}-{next(self._answers)}"
            mine = {spec.name: outputs[spec.name][row : row + 1] for spec in served.engine.outputs}
            latency_ms = (time.perf_counter() - begun_s) * 1000 / len(part)
            if not served.members:
                self._observer.observe(served, {name: part[row : row + 1]}, mine, latency_ms, answer_id)
            said = {key: value[0].tolist() for key, value in mine.items()}
            answers.append(ModelAnswer(answer_id, served.name, served.version, said))
        return answers
