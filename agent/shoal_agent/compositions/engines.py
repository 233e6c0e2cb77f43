"""The engines of compositions: what is asked of whom, and what becomes of the answers."""

from __future__ import annotations

import itertools
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from shoal_agent.compositions.combine import confidences, vote, weighted_mean
from shoal_agent.compositions.fit import Bound, Fitted
from shoal_agent.engines import Array, EngineError, EngineSetup
from shoal_agent.errors import AgentError
from shoal_agent.serving import Observer
from shoal_agent.serving.parameters import ANSWERED_BY, MEMBER_LABELS
from shoal_contract.compositions import Cascade, Ensemble
from shoal_contract.manifest import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class Asking:
    """Asks members, and shows an observer each of their answers as one of theirs.

    Attributes:
        observer: Sees what members answered.
    """

    observer: Observer
    _start: str = field(default_factory=lambda: secrets.token_hex(4), init=False)
    _answers: itertools.count[int] = field(default_factory=itertools.count, init=False)

    def ask(self, member: Bound, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return a member's outputs by the composition's names.

        Args:
            member: Who is asked.
            inputs: By the composition's names.

        Raises:
            AgentError: It failed.
        """
        served, begun_s = member.served, time.perf_counter()
        own = {its: inputs[name] for name, its in member.inputs.items()}
        try:
            outputs = served.engine.infer(own)
        except AgentError:
            self.observer.observe_error(served)
            raise
        took_ms = (time.perf_counter() - begun_s) * 1000
        self.observer.observe(served, own, outputs, took_ms, f"{self._start}-{next(self._answers)}")
        return {name: outputs[its] for name, its in member.outputs.items()}


class ComposedEngine(ABC):
    """An engine that asks others. It holds them open until it is closed, which is done in the event loop.

    Args:
        fitted: What it takes and answers, and of whom.
        asking: Asks them.
        release: Lets go of the members.
    """

    def __init__(self, fitted: Fitted, asking: Asking, release: Callable[[], None]) -> None:
        self._fitted = fitted
        self._asking = asking
        self._release = release
        self._engines = [member.served.engine for member in fitted.members]
        self._scores = [_scores_of(member) for member in fitted.members]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes."""
        return self._fitted.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it answers."""
        return self._fitted.outputs

    @property
    def is_in_use(self) -> bool:
        """Whether one of its members would wait for another thread."""
        return any(engine.is_in_use for engine in self._engines)

    @property
    def setup(self) -> EngineSetup:
        """How it runs: as many samples together as the least of its members takes."""
        return EngineSetup(type(self).__name__, together=min(engine.setup.together for engine in self._engines))

    @abstractmethod
    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Ask the members; see `Engine`."""

    def close(self) -> None:
        """Let go of the members. Closing twice does nothing."""
        self._release()

    def _chosen(self, place: int, answer: Mapping[str, Array], samples: int) -> NDArray[np.int64] | int:
        """Return the label that a member chose for each sample, (samples,) int64; -1: it has none to choose from."""
        name, classes = self._scores[place]
        scores = answer[name]
        if not classes or scores.size != samples * classes:
            return -1
        labels: NDArray[np.int64] = scores.reshape(samples, classes).argmax(axis=1)
        return labels


class EnsembleEngine(ComposedEngine):
    """All members are asked, and one output is combined."""

    def __init__(self, form: Ensemble, fitted: Fitted, asking: Asking, release: Callable[[], None]) -> None:
        super().__init__(fitted, asking, release)
        self._combine = vote if form.combine == "vote" else weighted_mean
        self._weights = [member.weight for member in form.members]

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Ask all members; `MEMBER_LABELS` says which label each chose.

        Raises:
            AgentError: One failed, or they answered in shapes that differ.
        """
        name = self._fitted.output
        members = self._fitted.members
        samples = len(next(iter(inputs.values()))) if members[0].served.manifest.is_batched else 1
        labels = np.empty((samples, len(members)), dtype=np.int64)
        answers = []
        for place, member in enumerate(members):
            answer = self._asking.ask(member, inputs)
            labels[:, place] = self._chosen(place, answer, samples)
            answers.append(answer[name])
        _check_alike(name, [answer.shape for answer in answers])
        return {name: self._combine(answers, self._weights), MEMBER_LABELS: labels}


class CascadeEngine(ComposedEngine):
    """One member after the other is asked, each only about samples of which those before were not sure."""

    def __init__(self, form: Cascade, fitted: Fitted, asking: Asking, release: Callable[[], None]) -> None:
        super().__init__(fitted, asking, release)
        self._confidences = [stage.confidence for stage in form.stages]

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Ask until there is an answer to each sample; `ANSWERED_BY` and `MEMBER_LABELS` say whose it is.

        Raises:
            AgentError: A member failed, or they answered in shapes that differ.
        """
        samples = len(next(iter(inputs.values())))
        if any(len(array) != samples for array in inputs.values()):
            raise EngineError("asking a cascade: the inputs differ in their first dimension, the samples")
        names = [spec.name for spec in self._fitted.outputs]
        left: NDArray[np.intp] = np.arange(samples)
        given: dict[str, Array] = {}
        answered_by = np.zeros(samples, dtype=np.int64)
        labels = np.full((samples, len(self._fitted.members)), -1, dtype=np.int64)
        for place, (member, confidence) in enumerate(zip(self._fitted.members, self._confidences, strict=True)):
            asked = inputs if len(left) == samples else {name: array[left] for name, array in inputs.items()}
            answer = self._asking.ask(member, asked)
            is_sure = _is_sure(answer[self._fitted.output], confidence, len(left))
            answered = left[is_sure]
            answered_by[answered] = place
            chosen = self._chosen(place, answer, len(left))
            labels[answered, place] = chosen if isinstance(chosen, int) else chosen[is_sure]
            for name in names:
                _check_alike(name, [(len(left), *answer[name].shape[1:]), answer[name].shape])
                if name not in given:
                    given[name] = np.empty((samples, *answer[name].shape[1:]), dtype=answer[name].dtype)
                _check_alike(name, [given[name].shape[1:], answer[name].shape[1:]])
                given[name][answered] = answer[name][is_sure]
            left = left[~is_sure]
            if not len(left):
                break
        return given | {ANSWERED_BY: answered_by, MEMBER_LABELS: labels}


def _scores_of(member: Bound) -> tuple[str, int]:
    """Return the output by whose scores a member chooses labels, as the composition calls it, and their number."""
    manifest = member.served.manifest
    first = manifest.outputs[0]
    classes = 0 if first.datatype == "BYTES" else len(manifest.baseline.predictions)
    return next(name for name, its in member.outputs.items() if its == first.name), classes


def _is_sure(probabilities: Array, confidence: float | None, samples: int) -> NDArray[np.bool_]:
    """Return by sample whether an answer is taken; one that is NaN is not, but of the last."""
    if confidence is None:
        return np.ones(samples, dtype=np.bool_)
    sure: NDArray[np.bool_] = confidences(probabilities) >= confidence
    return sure


def _check_alike(name: str, shapes: Sequence[tuple[int, ...]]) -> None:
    if len(set(shapes)) > 1:
        found = " and ".join(str(list(shape)) for shape in dict.fromkeys(shapes))
        message = f"composing answers: the output {name!r} came in the shapes {found}, expected the same of all"
        raise EngineError(message, "roll out members whose outputs have the same sizes")
