"""Watches every served model: takes each answered request, gives out finished windows."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import NamedTuple

from shoal_agent.engines import Array
from shoal_agent.monitor.answers import REFUSED, Answer, Answers, Fate, LabelError, LabelSettings, Part, StreamKey
from shoal_agent.monitor.budget import SketchBudget
from shoal_agent.monitor.evidence_files import EvidenceFiles
from shoal_agent.monitor.parts import PartsPlan, Shown, WindowParts
from shoal_agent.monitor.records import RecordPlan, answer_kind
from shoal_agent.monitor.rows import numbers_of, rows_of, scores_of
from shoal_agent.monitor.sketch import BaselineEdges, WindowSketch
from shoal_agent.monitor.truths import Truth, check_truth
from shoal_agent.monitor.usual import UsualRequest
from shoal_agent.monitor.weighing import Weighing, settings_of, watched_of
from shoal_agent.monitor.window import FinishedWindow
from shoal_agent.serving.models import ServedModel
from shoal_agent.serving.parameters import MEMBER_LABELS
from shoal_agent.settings import MonitorSettings
from shoal_contract.desired import DesiredConfig
from shoal_contract.telemetry import Misfit
from shoal_numerics import NumericsError
from shoal_numerics.drift_evidence import EvidenceSettings
from shoal_numerics.watched_shares import WatchedShares

log = logging.getLogger(__name__)

_VERSIONS = 2
"""Versions of one model whose edges are kept: a trial has two of them answer in turn."""


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Labelled:
    """What labels came to: who had answered, how many samples have a label, and how many were predicted right.

    `valued` samples have a true value, and `metrics` of the application's own were taken. Of a composition, `members`
    is the same of those whose answers were used and whose labels are known.
    """

    model: str
    version: int
    labelled: int
    correct: int
    members: "tuple[Labelled, ...]" = ()
    valued: int = 0
    metrics: int = 0


class _Edges(NamedTuple):
    """What a version is counted over: the edges of its baseline, and what its windows tell beside."""

    sketch: BaselineEdges
    parts: PartsPlan
    records: RecordPlan
    watched: WatchedShares | None
    """None: its drift is not weighed."""


class _Watched(NamedTuple):
    """A window that is being counted."""

    sketch: WindowSketch
    parts: WindowParts


class Monitor:
    """One sketch for each version that answers requests; safe for use by several threads.

    A window begins with its first request, or the first label that comes back, and ends when `take_windows` finds it
    full or old enough, so an idle model sends nothing. Requests fill it, or answers whose labels came, however many
    samples they hold. What a client sent wrong is counted as an error and never sketched.

    Args:
        clock: Gives the time at which a window begins, aware UTC.
        labels: Bounds of the answers that are remembered until their labels come back.
        monotonic: Seconds that only rise, for their age and for what watching costs.
        settings: What watching may cost.
        folder: Where evidence of drift is kept; None: in memory alone.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = _now,
        labels: LabelSettings = LabelSettings(),  # noqa: B008 - frozen
        monotonic: Callable[[], float] = time.monotonic,
        settings: MonitorSettings = MonitorSettings(),  # noqa: B008 - frozen
        folder: Path | None = None,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._budget = SketchBudget(settings, monotonic())
        self._lock = threading.Lock()
        self._windows: dict[StreamKey, _Watched] = {}
        self._edges: dict[StreamKey, _Edges | None] = {}
        self._usual: dict[int, UsualRequest] = {}
        """By the version's object; of windows that are not taken yet."""
        self._latest: UsualRequest | None = None
        self._answers = Answers(labels, monotonic)
        self._remembers = labels.max_answers > 0
        files = EvidenceFiles(folder) if folder is not None else None
        self._weighing = Weighing(files, settings.save_evidence_s, monotonic)
        self._fates: dict[Fate, int] = dict.fromkeys(("taken", *REFUSED), 0)
        self._composed: Counter[tuple[str, int, str]] = Counter()

    def observe(
        self,
        served: ServedModel,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        latency_ms: float,
        answer_id: str,
    ) -> None:
        """Count one answered request.

        Args:
            served: What answered.
            inputs: The request's arrays by name; flattened sample by sample in the manifest's order of inputs.
            outputs: The answer's arrays by name; the first of the manifest's gives label and confidence.
            latency_ms: From the request's last byte to its answer.
            answer_id: What the answer is called: its labels come back under this.
        """
        with self._lock:
            usual = self._latest
            if usual is None or usual.served() is not served:
                usual = self._usual_of(served)
            if usual is not None:
                now_s = self._monotonic()
                if not usual.count(inputs, outputs, answer_id, latency_ms, now_s):
                    usual = None
                elif usual.parts is None:
                    return
                else:
                    shown = usual.parts.grant(1, now_s)
        if usual is not None:
            usual.show(inputs, outputs, shown)
            return
        rows = rows_of(served, inputs)
        found = scores_of(served, outputs, len(rows))
        with self._lock:
            window = self._window(served)
            if window is None:
                return
            sketch, parts = window
            now_s = self._monotonic()
            kept = numbers_of(served, outputs, len(rows)) if sketch.kind == "number" else found
            sketch.add(rows, answer_id, kept, latency_ms, now_s)
            shown = parts.grant(len(rows), now_s) if parts.see_samples else Shown(0, 0)
            self._latest = self._usual[id(served)] = UsualRequest(served, _stream_of(served), sketch, parts)
        if parts.see_samples:
            parts.observe(served, inputs, outputs, rows, found, shown)

    def _usual_of(self, served: ServedModel) -> UsualRequest | None:
        """Return how a version's usual request looks, if it has had one in its window; it has answered last now."""
        usual = self._usual.get(id(served))
        if usual is None or usual.served() is not served:
            return None
        self._edges[usual.key] = self._edges.pop(usual.key)
        self._latest = usual
        return usual

    def observe_composed(self, served: ServedModel, outputs: Mapping[str, Array], answer_id: str) -> None:
        """Remember an answer of a composition until its labels come; its members have been observed by themselves.

        Args:
            served: The composition.
            outputs: The answer's arrays by name, with `MEMBER_LABELS`.
            answer_id: What the answer is called.
        """
        chosen = outputs.get(MEMBER_LABELS)
        scores = outputs.get(served.combined)
        if chosen is None or scores is None or not served.manifest.baseline.predictions:
            return
        if not len(chosen) or scores.size % len(chosen):
            return
        rows = scores.reshape(len(chosen), -1)
        if rows.shape[1] < 2:  # noqa: PLR2004 - one number is no choice
            return
        parts = Part.each([_stream_of(member) for member in served.members], chosen)
        with self._lock:
            self._answers.remember_composed(_stream_of(served), answer_id, rows.argmax(axis=1), rows.shape[1], parts)

    def observe_error(self, served: ServedModel, misfit: Misfit | None = None) -> None:
        """Count one request that got an error instead of an answer, and by what it did not fit the model's schema."""
        with self._lock:
            window = self._window(served)
            if window is not None:
                window.sketch.errors += 1
                if misfit is not None:
                    window.parts.note_misfit(misfit)

    def label(self, model: str | None, answer_id: str, labels: Sequence[int], version: int | None = None) -> Labelled:
        """Count the true labels of one answer, places among the model's outputs from 0; see `tell`."""
        return self.tell(model, answer_id, Truth(labels=labels), version)

    def tell(self, model: str | None, answer_id: str, truth: Truth, version: int | None = None) -> Labelled:
        """Count what is known of one answer in the current window of the version that gave it, also of a trial's.

        Args:
            model: What was asked; None: whichever model has answered under this id.
            answer_id: What the answer is called.
            truth: What was true for each of its samples, and what the application has measured.
            version: Which version must have answered, if the application says so.

        Raises:
            LabelError: It can not be counted, and nothing of it is; that is counted by its kind.
        """
        doing = f"taking the labels of answer {answer_id[:64]!r}{f' of {model}' if model is not None else ''}"
        with self._lock:
            for window in self._windows.values():
                window.sketch.answers.settle()
            try:
                named = model if model is not None else self._answers.only_model(answer_id, doing)
                counted = self._tell(named, answer_id, truth, version, doing)
            except LabelError as error:
                self._fates[error.fate] += 1
                raise
            self._fates["taken"] += 1
        return counted

    def label_fates(self) -> dict[Fate, int]:
        """Return what became of the labels that have come since the start, in answers."""
        with self._lock:
            return dict(self._fates)

    def composed_counts(self) -> dict[tuple[str, int, str], int]:
        """Return how many samples of compositions were `labelled` and `correct` since the start.

        By name, version and which of the two.
        """
        with self._lock:
            return dict(self._composed)

    def _tell(self, model: str, answer_id: str, truth: Truth, version: int | None, doing: str) -> Labelled:
        answer = self._answers.find(model, answer_id, version, doing)
        if answer.classes is not None:
            return self._label_composed(answer, answer.classes, truth.of_composition(doing), doing)
        edges = self._edges.get(answer.stream)
        if edges is None:
            message = f"{doing}: version {answer.stream[1]} has answered, which is watched no more"
            raise LabelError("late", message)
        window = self._windows.get(answer.stream)
        correct = check_truth(truth, answer, edges.records, window.sketch.truths if window else None, doing)
        sketch = self._open(answer.stream, edges).sketch
        sketch.add_truth(truth, answer, correct)
        if truth.labels is not None or truth.values is not None:
            self._answers.settle(answer)
        if truth.metrics:
            self._answers.note_measured(answer)
        labelled, valued = len(truth.labels or ()), len(truth.values or ())
        return Labelled(answer.stream[0], answer.stream[1], labelled, correct, (), valued, len(truth.metrics))

    def _label_composed(self, answer: Answer, classes: int, labels: Sequence[int], doing: str) -> Labelled:
        """Count labels for a composition, and for each member those of the samples for which its answer was used."""
        correct = answer.correct(labels, classes, doing)
        members = []
        for part in answer.parts:
            edges = self._edges.get(part.stream)
            if edges is None:  # it is watched no more
                continue
            truth, predicted = part.counted(labels, edges.sketch.classes)
            if len(truth):
                told = Truth(labels=truth.tolist())
                right = int((truth == predicted).sum())
                self._open(part.stream, edges).sketch.add_truth(told, Answer(part.stream, "", predicted), right)
                members.append(Labelled(part.stream[0], part.stream[1], len(truth), right))
        self._answers.settle(answer)
        name, version, _ = answer.stream
        self._composed[name, version, "labelled"] += len(labels)
        self._composed[name, version, "correct"] += correct
        return Labelled(name, version, len(labels), correct, tuple(members))

    def take_windows(self, now: datetime, config: DesiredConfig) -> list[FinishedWindow]:
        """Return the windows that are full (`window_requests`) or old enough (`window_s`), and forget them.

        Packing is done in the calling thread, outside the lock; off the event loop where features are many.
        """
        with self._lock:
            finished = [key for key, window in self._windows.items() if _is_finished(window.sketch, now, config)]
            taken = [(key, self._windows.pop(key)) for key in finished]
            if taken:
                self._usual.clear()
                self._latest = None
            for _, window in taken:
                window.sketch.close()
            edges = [self._edges.get(key) for key, _ in taken]
        settings = settings_of(config)
        return [
            self._finish(key, window, known, now, settings) for (key, window), known in zip(taken, edges, strict=True)
        ]

    def save_evidence(self, *, is_last: bool = False) -> int:
        """Write the evidence of drift that is due, or all of it as the agent ends; return of how many versions.

        Off the event loop, and from one thread at a time.
        """
        return self._weighing.save(is_last=is_last)

    def drifted_features(self) -> dict[tuple[str, int], int]:
        """Return how many features have drifted by the evidence of this device alone, by name and version."""
        with self._lock:
            keys = [key for key, edges in self._edges.items() if edges is not None]
        return {(key[0], key[1]): len(self._weighing.drifted(key)) for key in keys}

    def has_drifted(self, name: str, version: int) -> bool:
        """Whether a version's inputs have drifted by the evidence of this device alone; quick, from any thread."""
        return self._weighing.has_drifted(name, version)

    def forget_evidence(self, name: str, version: int) -> None:
        """Judge a version's inputs by what comes from now on."""
        self._weighing.forget(name, version)

    def _finish(
        self, key: StreamKey, window: _Watched, edges: _Edges | None, now: datetime, settings: EvidenceSettings
    ) -> FinishedWindow:
        watched = edges.watched if edges is not None else None
        weigh = partial(self._weighing.weigh, key, watched, settings=settings) if watched is not None else None
        return window.parts.finish(window.sketch.finish(*key, ended_at=now, weigh=weigh))

    def _window(self, served: ServedModel) -> _Watched | None:
        key = _stream_of(served)
        edges = self._edges_of(key, served)
        return self._open(key, edges) if edges is not None else self._windows.get(key)

    def _open(self, key: StreamKey, edges: _Edges) -> _Watched:
        window = self._windows.get(key)
        if window is None:
            remember = partial(self._answers.remember, key)
            sketch = WindowSketch(edges.sketch, self._clock(), self._budget, remember, edges.records)
            window = self._windows[key] = _Watched(sketch, WindowParts(edges.parts, self._budget))
        return window

    def _edges_of(self, key: StreamKey, served: ServedModel) -> _Edges | None:
        """Return the edges of a version's baseline, None where they are unusable; the last few that answered stay."""
        self._latest = None
        if key in self._edges:
            found = self._edges[key] = self._edges.pop(key)
            return found
        edges: _Edges | None = None
        try:
            baseline = served.manifest.baseline
            read = BaselineEdges.of(baseline)
            parts = PartsPlan.of(baseline, read.features, read.confidence)
            records = RecordPlan.of(answer_kind(served.manifest), baseline, read.confidence, is_kept=self._remembers)
            edges = _Edges(read, parts, records, watched_of(baseline, read.features))
        except NumericsError as error:
            log.warning("model %s version %d is served but not watched: %s", served.name, served.version, error)
        mine = [one for one in self._edges if one[0] == served.name]
        for former in mine[: len(mine) + 1 - _VERSIONS]:
            del self._edges[former]
        self._usual.clear()
        self._edges[key] = edges
        self._weighing.keep(list(self._edges))
        return edges


def _stream_of(served: ServedModel) -> StreamKey:
    return (served.name, served.version, served.manifest_sha256)


def _is_finished(sketch: WindowSketch, now: datetime, config: DesiredConfig) -> bool:
    is_full = max(sketch.answers.count + sketch.errors, sketch.labelled_answers) >= config.window_requests
    return is_full or (now - sketch.started_at).total_seconds() >= config.window_s
