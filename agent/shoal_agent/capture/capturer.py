"""Keeps samples of answered requests by the owner's rules; whoever asked never waits for it.

Between serving and what watches it, as an `Observer`: a worker thread only picks and copies. Redacting, encrypting and
writing happen in a task, one sample at a time.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from anyio import to_thread

from shoal_agent.capture.archive import to_npz
from shoal_agent.capture.choice import Range, Reason, pick
from shoal_agent.capture.errors import CaptureError
from shoal_agent.capture.redactor import redact
from shoal_agent.capture.rules import CaptureRules
from shoal_agent.capture.sealed import About, Captured
from shoal_agent.capture.store import Budget, CaptureStore
from shoal_agent.encryption_key import EncryptionKey
from shoal_agent.engines import Array
from shoal_agent.errors import AgentError, DiskError
from shoal_agent.from_threads import FromThreads
from shoal_agent.monitor.rows import rows_of, scores_of
from shoal_agent.serving.models import Observer, ServedModel
from shoal_contract.telemetry import Misfit

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = getLogger(__name__)
Fate = Literal["kept", "busy", "too_large", "redactor", "budget", "disk"]
MAX_WAITING: Final = 16
"""Samples that may wait for their turn; more are let go, and counted."""
MAX_UNLABELLED: Final = 10_000
"""Requests whose samples may still get a true label."""
MAX_LABELS_WAITING: Final = 1024
"""Requests whose labels may wait to be noted."""
_MEGABYTE: Final = 1_000_000
_MAX_ID_CHARS: Final = 128


class Answered(Protocol):
    """A request that was answered, as a trial shows it to its candidate."""

    @property
    def served(self) -> ServedModel:
        """The version that has answered."""

    @property
    def inputs(self) -> Mapping[str, Array]:
        """The request's arrays by name."""

    @property
    def outputs(self) -> Mapping[str, Array]:
        """The answer's."""

    @property
    def answer_id(self) -> str:
        """What the answer is called."""


_Asked = tuple[str, str]
"""A request: its model, and what the answer is called."""


@dataclass(frozen=True)
class _Waiting:
    """A picked sample: copies of one sample's arrays, by input."""

    about: About
    arrays: Mapping[str, Array]
    asked: _Asked


class _Labelled(NamedTuple):
    """The true labels of a request's samples; they wait behind the samples, which are kept by then."""

    asked: _Asked
    labels: Sequence[int]


class Capture:
    """An observer that shows everything to another one, and keeps what the rules pick.

    Args:
        watched: Is shown everything as it comes.
        rules: The owner's.
        store: Where samples are kept.
        key: Gives the device's encryption key.
        now: Trusted time.
        chance: 0 to 1, evenly.
    """

    def __init__(
        self,
        watched: Observer,
        rules: CaptureRules,
        store: CaptureStore,
        key: Callable[[], EncryptionKey],
        now: Callable[[], datetime],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._watched = watched
        self._rules = rules
        self._store = store
        self._key = key
        self._now = now
        self._chance = chance
        self._budget = Budget(
            int(rules.max_mb * _MEGABYTE), int(rules.max_mb_per_day * _MEGABYTE), rules.max_samples_per_day
        )
        self._ranges: WeakKeyDictionary[ServedModel, Range] = WeakKeyDictionary()
        self._waiting: FromThreads[_Waiting | _Labelled] = FromThreads(MAX_WAITING + MAX_LABELS_WAITING)
        self._room = threading.Semaphore(MAX_WAITING)
        self._kept: OrderedDict[_Asked, dict[int, str]] = OrderedDict()
        self.on_kept: Callable[[], None] = lambda: None
        """Called when a sample was kept, or its true label noted."""
        self.has_drifted: Callable[[str, int], bool] = lambda *_: False
        """Asked whether the inputs of a version have drifted, by this device's own evidence; has to be quick."""
        self.fates: Counter[Fate] = Counter()
        """What became of the samples that were picked."""

    @property
    def rules(self) -> CaptureRules:
        """The owner's."""
        return self._rules

    @property
    def store(self) -> CaptureStore:
        """Where samples are kept."""
        return self._store

    def observe(
        self,
        served: ServedModel,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        latency_ms: float,
        answer_id: str,
    ) -> None:
        """Show one answered request to who watches, and keep what the rules pick of it."""
        self._watched.observe(served, inputs, outputs, latency_ms, answer_id)
        rule = self._rules.models.get(served.name)
        if rule is None:
            return
        rows = rows_of(served, inputs)
        if len(rows):
            scores = scores_of(served, outputs, len(rows))
            has_drifted = self.has_drifted(served.name, served.version)
            picked = pick(rule, rows, scores, self._range(served), self._chance, has_drifted=has_drifted)
            self._take(served, inputs, scores, picked, answer_id)

    def observe_error(self, served: ServedModel, misfit: Misfit | None = None) -> None:
        """Show who watches a request that got an error; nothing of it is kept."""
        self._watched.observe_error(served, misfit)

    def disagree(self, seen: Answered, differing: NDArray[np.int64]) -> None:
        """Keep samples for which a trial's candidate chose another label, where the rules ask for them.

        Args:
            seen: The request as it was answered.
            differing: (m,) int64: the places of those samples in it.
        """
        rule = self._rules.models.get(seen.served.name)
        if rule is None or not rule.disagreement:
            return
        scores = scores_of(seen.served, seen.outputs, len(rows_of(seen.served, seen.inputs)))
        picked: dict[int, tuple[Reason, ...]] = {int(index): ("disagreement",) for index in differing}
        self._take(seen.served, seen.inputs, scores, picked, seen.answer_id)

    def note_labels(self, model: str, answer_id: str, labels: Sequence[int]) -> None:
        """Note the true labels of a request with its samples that were kept since the agent started, soon.

        Args:
            model: Who had answered.
            answer_id: What the answer is called.
            labels: Of each of the request's samples.
        """
        if model in self._rules.models:
            self._waiting.put(_Labelled((model, answer_id), labels))

    async def run(self) -> None:
        """Keep what waits, one sample after the other, for ever."""
        await self._waiting.each(self._work)

    async def _work(self, item: _Waiting | _Labelled) -> None:
        if isinstance(item, _Waiting):
            self._room.release()
            self.fates[await self._keep(item)] += 1
            self.on_kept()
            return
        for sample, name in self._kept.pop(item.asked, {}).items():
            if sample < len(item.labels):
                await self._label(name, item.labels[sample])
                self.on_kept()

    def _take(
        self,
        served: ServedModel,
        inputs: Mapping[str, Array],
        scores: NDArray[np.float32],
        picked: Mapping[int, tuple[Reason, ...]],
        answer_id: str,
    ) -> None:
        """Copy picked samples out of a request, whose memory is used again."""
        for index, reasons in list(picked.items())[: self._rules.max_samples_per_request]:
            if not self._room.acquire(blocking=False):
                self.fates["busy"] += 1
                continue
            fate: Fate | None = "busy"
            try:
                fate = self._put(served, inputs, (index, reasons), scores[index] if len(scores) else None, answer_id)
            finally:
                if fate is not None:
                    self._room.release()
            if fate is not None:
                self.fates[fate] += 1

    def _put(
        self,
        served: ServedModel,
        inputs: Mapping[str, Array],
        picked: tuple[int, tuple[Reason, ...]],
        scores: NDArray[np.float32] | None,
        answer_id: str,
    ) -> Fate | None:
        """Let one sample wait; return what became of it where it does not."""
        index, reasons = picked
        arrays = _sample(served, inputs, index)
        if sum(array.nbytes for array in arrays.values()) > self._rules.max_sample_bytes:
            return "too_large"
        about = About(
            model=served.name,
            version=served.version,
            request_id=answer_id[:_MAX_ID_CHARS],
            at=self._now(),
            reasons=reasons,
            label=int(scores.argmax()) if scores is not None else None,
            confidence=float(scores.max()) if scores is not None and np.isfinite(scores.max()) else None,
            sample=index,
        )
        return None if self._waiting.put(_Waiting(about, arrays, (served.name, answer_id))) else "busy"

    async def _keep(self, waiting: _Waiting) -> Fate:
        sample = to_npz(waiting.arrays)
        if self._rules.redact:
            most_bytes = 2 * self._rules.max_sample_bytes + len(sample)
            try:
                sample = await redact(self._rules.redact, sample, self._rules.redact_timeout_s, most_bytes)
            except CaptureError as error:
                _log.warning("a sample of %s is not kept: %s; %s", waiting.about.model, error, error.remedy)
                return "redactor"
        add = partial(self._store.add, Captured(waiting.about, sample), self._key(), self._budget)
        try:
            name = await to_thread.run_sync(add)
        except DiskError as error:
            _log.error("a sample of %s is not kept: %s; %s", waiting.about.model, error, error.remedy)
            return "disk"
        if name is None:
            return "budget"
        self._remember(waiting, name)
        return "kept"

    def _remember(self, waiting: _Waiting, name: str) -> None:
        self._kept.setdefault(waiting.asked, {})[waiting.about.sample] = name
        if len(self._kept) > MAX_UNLABELLED:
            self._kept.popitem(last=False)

    async def _label(self, name: str, true_label: int) -> None:
        try:
            await to_thread.run_sync(self._store.label, name, self._key(), true_label)
        except AgentError as error:  # it may have made room for another one meanwhile
            _log.info("a label of the captured sample %s is not noted: %s", name, error)

    def _range(self, served: ServedModel) -> Range:
        known = self._ranges.get(served)
        return known if known is not None else self._ranges.setdefault(served, Range.of(served.manifest.baseline))


def _sample(served: ServedModel, inputs: Mapping[str, Array], index: int) -> dict[str, Array]:
    """Return copies of one sample's arrays by input, in the inputs' own shape where their first size is of samples."""
    arrays = [inputs[spec.name] for spec in served.manifest.inputs]
    samples = len(rows_of(served, inputs))
    return {spec.name: _part(array, samples, index) for spec, array in zip(served.manifest.inputs, arrays, strict=True)}


def _part(array: Array, samples: int, index: int) -> Array:
    """Return a copy of one sample's part of an input; of what is not of samples, such as a rate, the whole."""
    if array.ndim and array.shape[0] == samples:
        return np.array(array[index])
    if not array.ndim or array.size % samples:
        return np.array(array)
    return np.array(array.reshape(samples, -1)[index])
