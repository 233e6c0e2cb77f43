"""Remembers what was answered lately, so that a true label that comes back can be held against it.

In memory and bounded: a label that comes after a restart, or after too many later answers, finds nothing.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from shoal_agent.errors import AgentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

StreamKey = tuple[str, int, str]
"""Model, version and hash of the manifest."""
Fate = Literal["taken", "unknown", "late", "repeated", "ambiguous", "wrong_version", "misfit"]
"""What became of the labels of one request; see `LabelError` for all but the first."""
Given: TypeAlias = tuple[str, int, float]
"""An answer's id, how many of its samples have labels, and when it was given, in seconds of a clock that only rises."""
REFUSED: Final[tuple[Fate, ...]] = ("unknown", "late", "repeated", "ambiguous", "wrong_version", "misfit")


@dataclass(frozen=True)
class LabelSettings:
    """Bounds of what is remembered for labels that come back; about 3 MB with these."""

    max_answers: int = 4096
    """Answers that are remembered; the oldest make room. 0: none, and no labels are taken."""
    max_samples: int = 65_536
    """Samples of all of them together."""
    max_samples_each: int = 1024
    """An answer with more samples is not remembered."""
    max_id_chars: int = 128
    """An answer whose asker gave it a longer id is not remembered."""
    max_age_s: float = 86_400.0
    """A label that comes later than this counts no more: it would say something of another day."""


class LabelError(AgentError):
    """Labels can not be counted.

    Args:
        fate: `unknown`: no answer of this id is remembered; `late`: it is too old, or of a version that is watched no
            more; `repeated`: it was labelled before; `ambiguous`: several answers had this id; `wrong_version`: another
            version has answered; `misfit`: another number of labels, or a label that the model does not know.
        message: What was found and what was expected.
        remedy: What the application should do.
    """

    code = "label"
    default_remedy = "send each answer's labels once, by its id, soon after it"

    def __init__(self, fate: Fate, message: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy)
        self.fate = fate


class Part(NamedTuple):
    """What a member has of a composition's answer: its label for each sample, (samples,) int32; -1: not its answer."""

    stream: StreamKey
    predicted: NDArray[np.int32]

    @classmethod
    def each(cls, streams: Sequence[StreamKey], chosen: NDArray[np.int64]) -> tuple[Part, ...]:
        """Return the part of each member, of (samples, members) labels."""
        return tuple(cls(stream, chosen[:, place].astype(np.int32)) for place, stream in enumerate(streams))

    def counted(self, labels: Sequence[int], classes: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the true labels of the samples that are this member's, and those that it predicted, (n,) int32 each.

        Args:
            labels: The true label of each sample of the composition's answer.
            classes: Labels that the member knows; if one is none of these, no sample counts.
        """
        is_used = self.predicted >= 0
        truth, predicted = np.asarray(labels, dtype=np.int32)[is_used], self.predicted[is_used]
        if not (truth < classes).all():
            return truth[:0], predicted[:0]
        return truth, predicted


@dataclass(frozen=True)
class Answer:
    """An answer that is remembered.

    Attributes:
        stream: What has answered.
        answer_id: What the answer is called.
        predicted: (samples,) int32; None once it was labelled.
        classes: Of a composition: labels that it knows.
        parts: Of a composition: what its members have of the answer.
        records: What was kept beside the labels (`records.RecordPlan`); empty: nothing.
        is_measured: Whether metrics of the application have come.
    """

    stream: StreamKey
    answer_id: str
    predicted: NDArray[np.int32] | None
    classes: int | None = None
    parts: tuple[Part, ...] = ()
    records: bytes = b""
    is_measured: bool = False

    def correct(self, labels: Sequence[int], classes: int, doing: str) -> int:
        """Return how many samples were predicted right.

        Args:
            labels: The true label of each sample.
            classes: Labels that the model knows.
            doing: How an error begins.

        Raises:
            LabelError: They do not fit.
        """
        if self.predicted is None:
            raise LabelError("repeated", f"{doing}: its labels have come before")
        if len(labels) != len(self.predicted):
            message = f"{doing}: {len(labels)} labels found, expected {len(self.predicted)}, one a sample"
            raise LabelError("misfit", message, "send a label for each sample of the request, in its order")
        if any(not 0 <= label < classes for label in labels):
            message = f"{doing}: a label is none of 0 to {classes - 1}"
            raise LabelError("misfit", message, "send the label's place among the model's outputs, from 0")
        return int(np.count_nonzero(self.predicted == np.asarray(labels, dtype=np.int32)))


class _Composed(NamedTuple):
    """What is kept of a composition's answer: its labels, (samples,) int32, None once labelled; and see `Answer`."""

    predicted: NDArray[np.int32] | None
    classes: int
    parts: tuple[Part, ...]


_Kept: TypeAlias = "tuple[StreamKey, int | NDArray[np.int32] | _Composed | None, float, int, bytes]"
"""What is kept of an answer, a plain tuple, as most are never read again: what has answered; the label of its one
sample, or those of several, None once it was labelled, or what is a composition's; when it was given; whether
another answer of this id still waited for its labels, so that nobody can say whose are whose (`_AMBIGUOUS`), and
whether it was measured (`_MEASURED`); and its records."""
_AMBIGUOUS: Final = 1
_MEASURED: Final = 2


def _waiting(kept: _Kept) -> int:
    """Return how many labels are kept: one for each sample that waits for its own, and one for each part of it."""
    predicted = kept[1]
    if predicted is None:
        return 0
    if isinstance(predicted, int):
        return 1
    if isinstance(predicted, _Composed):
        return 0 if predicted.predicted is None else len(predicted.predicted) * (1 + len(predicted.parts))
    return len(predicted)


class Answers:
    """The latest answers by model and id. Not safe for concurrent use; `Monitor` holds the lock.

    Args:
        settings: Bounds.
        monotonic: Seconds that only rise.
    """

    def __init__(self, settings: LabelSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._answers: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._samples = 0

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._answers)

    @property
    def samples(self) -> int:
        """Return how many samples still wait for their labels."""
        return self._samples

    def remember_composed(
        self, stream: StreamKey, answer_id: str, predicted: NDArray[np.int64], classes: int, parts: tuple[Part, ...]
    ) -> None:
        """Remember an answer of a composition; of its id see `remember`.

        Args:
            stream: The composition.
            answer_id: What the answer is called.
            predicted: (samples,) int64 labels that were chosen.
            classes: Labels that it knows.
            parts: What its members have of the answer.
        """
        if self._settings.max_answers:
            kept = _Composed(predicted.astype(np.int32), classes, parts)
            self._remember_other(stream, (answer_id, len(predicted), self._monotonic()), kept)
            self._make_room()

    def remember(
        self, stream: StreamKey, given: Sequence[Given], labels: NDArray[np.int32], records: bytes = b""
    ) -> None:
        """Remember answers; if an earlier one of an id waits for labels, the id names neither from now on.

        Args:
            stream: What answered.
            given: The answers, in order.
            labels: (samples of all of them,) int32 that were chosen.
            records: As many bytes for each sample; empty: nothing is kept beside the labels.
        """
        known, model, most = self._answers, stream[0], self._settings.max_answers
        if not most:
            return
        most_samples, most_chars = self._settings.max_samples, self._settings.max_id_chars
        start, singles, width = 0, labels.tolist(), len(records) // max(1, len(labels))
        for answer_id, samples, at_s in given:
            place, record = (model, answer_id), records[start * width : (start + samples) * width]
            if samples == 1 and place not in known and 0 < len(answer_id) <= most_chars:
                known[place] = (stream, singles[start], at_s, 0, record)
                self._samples += 1
            else:
                self._remember_other(stream, (answer_id, samples, at_s), labels[start : start + samples], record)
            start += samples
            if len(known) > most or self._samples > most_samples:
                self._make_room()

    def find(self, model: str, answer_id: str, version: int | None, doing: str) -> Answer:
        """Return an answer.

        Args:
            model: What answered.
            answer_id: What the answer is called.
            version: Which version the application means, if it says so.
            doing: How an error begins.

        Raises:
            LabelError: It is not remembered, too old, one of several of its id, or of another version.
        """
        found = self._answers.get((model, answer_id))
        if found is None:
            message = f"{doing}: no such answer among the last {self._settings.max_answers} since the agent's start"
            raise LabelError("unknown", message, "send labels by the id of the answer, before so many later ones")
        stream, predicted, at_s, flags, records = found
        if flags & _AMBIGUOUS:
            message = f"{doing}: several answers had this id before their labels came"
            raise LabelError("ambiguous", message, "give each request an id of its own, or none: the agent gives one")
        if version is not None and version != stream[1]:
            raise LabelError("wrong_version", f"{doing}: version {stream[1]} has answered, not {version}")
        if self._monotonic() - at_s > self._settings.max_age_s:
            raise LabelError("late", f"{doing}: it was answered more than {self._settings.max_age_s:g} s ago")
        if isinstance(predicted, int):
            predicted = np.array([predicted], dtype=np.int32)
        if isinstance(predicted, _Composed):
            return Answer(stream, answer_id, *predicted)
        return Answer(stream, answer_id, predicted, records=records, is_measured=bool(flags & _MEASURED))

    def only_model(self, answer_id: str, doing: str) -> str:
        """Return the one model that has answered under an id.

        Args:
            answer_id: What the answer is called.
            doing: How an error begins.

        Raises:
            LabelError: None has, or several have.
        """
        models = [model for model, known in self._answers if known == answer_id]
        if not models:
            message = f"{doing}: no such answer among the last {self._settings.max_answers} since the agent's start"
            raise LabelError("unknown", message, "send labels by the id of the answer, before so many later ones")
        if len(models) > 1:
            message = f"{doing}: answers of {', '.join(sorted(models))[:200]} have this id"
            raise LabelError("ambiguous", message, "name the model as well")
        return models[0]

    def settle(self, answer: Answer) -> None:
        """Note that an answer was labelled; only that is remembered of it."""
        place = (answer.stream[0], answer.answer_id)
        stream, predicted, at_s, flags, _ = kept = self._answers[place]
        self._samples -= _waiting(kept)
        settled = _Composed(None, predicted.classes, ()) if isinstance(predicted, _Composed) else None
        self._answers[place] = (stream, settled, at_s, flags, b"")

    def note_measured(self, answer: Answer) -> None:
        """Note that metrics of an answer have come; its labels may still come."""
        place = (answer.stream[0], answer.answer_id)
        stream, predicted, at_s, flags, records = self._answers[place]
        self._answers[place] = (stream, predicted, at_s, flags | _MEASURED, records)

    def _remember_other(
        self, stream: StreamKey, given: Given, predicted: NDArray[np.int32] | _Composed, records: bytes = b""
    ) -> None:
        """Remember an answer of many samples or none, or a composition's, or of an id that is known or too long."""
        answer_id, samples, at_s = given
        place, bounds = (stream[0], answer_id), self._settings
        earlier = self._answers.pop(place, None)
        is_ambiguous = False
        if earlier is not None:
            waiting = _waiting(earlier)
            self._samples -= waiting
            is_ambiguous = at_s - earlier[2] <= bounds.max_age_s and (bool(earlier[3] & _AMBIGUOUS) or waiting > 0)
        if not 0 < len(answer_id) <= bounds.max_id_chars:
            return
        if is_ambiguous:
            self._answers[place] = (stream, None, at_s, _AMBIGUOUS, b"")
        elif 0 < samples <= bounds.max_samples_each:
            own = predicted if isinstance(predicted, _Composed) else predicted.copy()
            kept = self._answers[place] = (stream, own, at_s, 0, records)
            self._samples += _waiting(kept)

    def _make_room(self) -> None:
        """Forget the oldest until the bounds hold."""
        known, bounds = self._answers, self._settings
        while len(known) > bounds.max_answers or self._samples > bounds.max_samples:
            _, oldest = known.popitem(last=False)
            self._samples -= 1 if oldest[1].__class__ is int else _waiting(oldest)
