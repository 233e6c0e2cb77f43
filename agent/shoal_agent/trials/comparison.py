"""One shadow window: a candidate run on what the serving version has answered, within a budget, and what came of it."""

from __future__ import annotations

import base64
import heapq
import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from shoal_agent.engines import Array
from shoal_agent.errors import AgentError
from shoal_agent.monitor.rows import rows_of, scores_of
from shoal_agent.serving.models import ServedModel
from shoal_contract.desired import DesiredTrial
from shoal_contract.telemetry import LATENCY_EDGES_MS, MAX_EXAMPLE_CHARS, HardExample, OutboxPosition, ShadowWindow

if TYPE_CHECKING:
    from numpy.typing import NDArray

BURST_S: Final = 1.0
"""A candidate that has rested may run this long at a time."""
_EXAMPLE_BYTES: Final = MAX_EXAMPLE_CHARS * 3 // 4
_WINDOW_EXAMPLE_CHARS: Final = 64 * 1024
"""Of all examples of one window."""
MAX_LABELS_WAITING: Final = 1024
"""Requests whose labels are waited for, and as many labels of requests that the candidate has not seen yet."""
_MAX_SAMPLES_EACH: Final = 64
"""A request of more samples is compared, and its labels are not waited for."""


@dataclass(frozen=True)
class Seen:
    """One request that the serving version has answered."""

    served: ServedModel
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    answer_id: str = ""


OnDifferent: TypeAlias = "Callable[[Seen, NDArray[np.int64]], None]"
"""Told the places of a request's samples for which the two chose different labels; in a thread, must be quick."""


class Comparison:
    """Counts of one trial since `started_at`; safe for use by several threads.

    Args:
        model: The model's name.
        wanted: The trial.
        may_send: Whether the device's owner lets inputs out at all.
        now: Trusted time.
        monotonic: Seconds that only rise.
        on_different: Told of samples on which the two disagree.
    """

    def __init__(
        self,
        model: str,
        wanted: DesiredTrial,
        *,
        may_send: bool,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        on_different: OnDifferent = lambda *_: None,
    ) -> None:
        self.model = model
        self.wanted = wanted
        self._most_examples = wanted.hard_examples if may_send else 0
        self._now = now
        self._monotonic = monotonic
        self._on_different = on_different
        self._lock = threading.Lock()
        self._chosen: OrderedDict[str, tuple[list[int], list[int]]] = OrderedDict()
        self._told: OrderedDict[str, Sequence[int]] = OrderedDict()
        self._budget_s, self._budget_at_s = BURST_S, monotonic()
        self._begin()

    def has_budget(self) -> bool:
        """Whether the candidate may run now; what it may spend comes back with time."""
        with self._lock:
            at_s = self._monotonic()
            earned_s = (at_s - self._budget_at_s) * self.wanted.max_cpu_share
            self._budget_s, self._budget_at_s = min(BURST_S, self._budget_s + earned_s), at_s
            return self._budget_s > 0

    def skip(self) -> None:
        """Count a request that the candidate does not see."""
        with self._lock:
            self.skipped += 1

    def run(self, candidate: ServedModel, seen: Seen) -> None:
        """Run the candidate on one request and hold its answer against the one that was given."""
        started_s = self._monotonic()
        try:
            outputs: Mapping[str, Array] | None = candidate.engine.infer(seen.inputs)
        except AgentError:
            outputs = None
        spent_s = self._monotonic() - started_s
        with self._lock:
            self._budget_s -= spent_s  # wall time: the runtime's own threads work meanwhile
            if outputs is None:
                self.errors += 1
                return
            self._latency[bisect_right(LATENCY_EDGES_MS, spent_s * 1000)] += 1
            self._compare(candidate, seen, outputs)

    def label(self, answer_id: str, labels: Sequence[int]) -> None:
        """Count the true labels of a request for both versions; those that come before the candidate ran wait for it.

        Args:
            answer_id: What its answer is called.
            labels: The true label of each of its samples.
        """
        with self._lock:
            chosen = self._chosen.pop(answer_id, None)
            if chosen is not None:
                self._count_labels(chosen, labels)
            elif answer_id and len(labels) <= _MAX_SAMPLES_EACH:
                self._told[answer_id] = labels
                while len(self._told) > MAX_LABELS_WAITING:
                    self._told.popitem(last=False)

    def finish(self) -> ShadowWindow:
        """Return what was counted, and begin anew."""
        with self._lock:
            window = ShadowWindow(
                outbox=OutboxPosition(stream="0" * 16, sequence=1, oldest=1),
                trial=self.wanted.id,
                model=self.model,
                version=self.wanted.candidate.version,
                against=self.wanted.against,
                started_at=self.started_at,
                ended_at=max(self._now(), self.started_at),
                compared=self.compared,
                disagreed=self.disagreed,
                errors=self.errors,
                skipped=self.skipped,
                latency=tuple(self._latency.tolist()),
                labelled=self.labelled,
                correct=self.correct,
                against_correct=self.against_correct,
                examples=tuple(example for _, _, example in sorted(self._examples, key=lambda one: -one[0])),
            )
            self._begin()
            return window

    @property
    def requests(self) -> int:
        """Requests since `started_at` that it saw or skipped."""
        return int(self._latency.sum()) + self.errors + self.skipped

    @property
    def has_news(self) -> bool:
        """Whether there is anything to tell: requests, or labels of earlier ones."""
        return self.requests > 0 or self.labelled > 0

    def _begin(self) -> None:
        self.started_at = self._now()
        self.compared = self.disagreed = self.errors = self.skipped = 0
        self.labelled = self.correct = self.against_correct = 0
        self._latency: NDArray[np.int64] = np.zeros(len(LATENCY_EDGES_MS) + 1, dtype=np.int64)
        self._examples: list[tuple[float, int, HardExample]] = []
        self._example_chars = 0
        self._kept = 0

    def _compare(self, candidate: ServedModel, seen: Seen, outputs: Mapping[str, Array]) -> None:
        rows = rows_of(seen.served, seen.inputs)
        mine, theirs = scores_of(seen.served, seen.outputs, len(rows)), scores_of(candidate, outputs, len(rows))
        if len(mine) == 0 or mine.shape[0] != theirs.shape[0]:
            agrees = _agree(seen.outputs, outputs, self.wanted.tolerance)
            self.compared, self.disagreed = self.compared + 1, self.disagreed + (not agrees)
            return
        labels, others = mine.argmax(axis=1), theirs.argmax(axis=1)
        differing = np.flatnonzero(labels != others)
        if differing.size:
            self._on_different(seen, differing)
        self.compared, self.disagreed = self.compared + len(labels), self.disagreed + len(differing)
        self._await_labels(seen.answer_id, labels, others)
        for index in differing[: self._most_examples]:
            row, other = mine[index], theirs[index]
            self._keep(rows[index], int(labels[index]), int(others[index]), float(row.max()), float(other.max()))

    def _await_labels(self, answer_id: str, labels: NDArray[np.int64], others: NDArray[np.int64]) -> None:
        """Remember what both chose until the labels come, or count them if they have come."""
        if not answer_id or len(labels) > _MAX_SAMPLES_EACH:
            return
        chosen = (labels.tolist(), others.tolist())
        told = self._told.pop(answer_id, None)
        if told is not None:
            self._count_labels(chosen, told)
            return
        self._chosen[answer_id] = chosen
        while len(self._chosen) > MAX_LABELS_WAITING:
            self._chosen.popitem(last=False)

    def _count_labels(self, chosen: tuple[list[int], list[int]], labels: Sequence[int]) -> None:
        if len(labels) != len(chosen[0]):
            return
        self.labelled += len(labels)
        self.against_correct += sum(one == label for one, label in zip(chosen[0], labels, strict=True))
        self.correct += sum(one == label for one, label in zip(chosen[1], labels, strict=True))

    def _keep(self, row: NDArray[np.float32], label: int, other: int, confidence: float, others: float) -> None:
        """Keep the examples of which the candidate was surest: they tell most about what has changed."""
        if row.nbytes > _EXAMPLE_BYTES or not np.isfinite([confidence, others]).all():
            return
        data = base64.b64encode(row.astype("<f4").tobytes()).decode()
        example = HardExample(
            data=data, label=label, candidate_label=other, confidence=confidence, candidate_confidence=others
        )
        self._kept += 1  # no two are alike, so that no two examples are ever compared
        heapq.heappush(self._examples, (others, self._kept, example))
        self._example_chars += len(data)
        while len(self._examples) > self._most_examples or self._example_chars > _WINDOW_EXAMPLE_CHARS:
            self._example_chars -= len(heapq.heappop(self._examples)[2].data)


def _agree(one: Mapping[str, Array], other: Mapping[str, Array], tolerance: float) -> bool:
    """Whether outputs that choose no label are the same but for `tolerance`."""
    for name, array in one.items():
        found = other.get(name)
        if found is None or found.shape != array.shape:
            return False
        with np.errstate(invalid="ignore"):
            difference = np.abs(array.astype(np.float64) - found.astype(np.float64))
        if array.size and not float(np.nan_to_num(difference, nan=np.inf).max()) <= tolerance:
            return False
    return True
