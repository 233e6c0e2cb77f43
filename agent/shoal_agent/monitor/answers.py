"""Remembers what was answered lately, so that a true label that comes back can be held against it.

In memory and bounded: a label that comes after a restart, or after too many later answers, finds nothing.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from shoal_agent.errors import AgentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

StreamKey = tuple[str, int, str]
"""Model, version and hash of the manifest."""
Fate = Literal["taken", "unknown", "late", "repeated", "ambiguous", "wrong_version", "misfit"]
"""What became of the labels of one request; see `LabelError` for all but the first."""
REFUSED: Final[tuple[Fate, ...]] = ("unknown", "late", "repeated", "ambiguous", "wrong_version", "misfit")


@dataclass(frozen=True)
class LabelSettings:
    """Bounds of what is remembered for labels that come back; about 2 MB with these."""

    max_answers: int = 4096
    """Answers that are remembered; the oldest make room."""
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

    def counted(self, labels: Sequence[int], classes: int) -> tuple[int, int]:
        """Return how many samples are this member's, and how many of them it predicted right.

        Args:
            labels: The true label of each sample of the composition's answer.
            classes: Labels that the member knows; if one is none of these, no sample counts.
        """
        is_used = self.predicted >= 0
        truth, predicted = np.asarray(labels, dtype=np.int32)[is_used], self.predicted[is_used]
        if not (truth < classes).all():
            return 0, 0
        return len(truth), int(np.count_nonzero(predicted == truth))


@dataclass
class Answer:
    """An answer that is remembered; `predicted` is (samples,) int32, and None once it was labelled.

    Of a composition, `classes` are the labels that it knows, and `parts` what its members have of the answer.
    """

    stream: StreamKey
    predicted: NDArray[np.int32] | None
    answered_s: float
    classes: int | None = None
    parts: tuple[Part, ...] = ()
    is_ambiguous: bool = False
    """Whether another answer of this id still waited for its labels: nobody can say whose are whose."""

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


class Answers:
    """The latest answers by model and id. Not safe for concurrent use; `Monitor` holds the lock.

    Args:
        settings: Bounds.
        monotonic: Seconds that only rise.
    """

    def __init__(self, settings: LabelSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._answers: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self._samples = 0

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._answers)

    @property
    def samples(self) -> int:
        """Return how many samples still wait for their labels."""
        return self._samples

    def remember(
        self,
        stream: StreamKey,
        answer_id: str,
        predicted: NDArray[np.int64],
        classes: int | None = None,
        parts: tuple[Part, ...] = (),
    ) -> None:
        """Remember an answer; if an earlier one of its id waits for labels, the id names neither from now on.

        Args:
            stream: What answered.
            answer_id: What the answer is called.
            predicted: (samples,) int64 labels that were chosen.
            classes: Of a composition: labels that it knows.
            parts: Of a composition: what its members have of the answer.
        """
        place, bounds, now_s = (stream[0], answer_id), self._settings, self._monotonic()
        is_ambiguous = self._waits(place, now_s)
        self._forget(place)
        if not 0 < len(answer_id) <= bounds.max_id_chars:
            return
        if is_ambiguous:
            self._answers[place] = Answer(stream, None, now_s, is_ambiguous=True)
        elif 0 < len(predicted) <= bounds.max_samples_each:
            kept = self._answers[place] = Answer(stream, predicted.astype(np.int32), now_s, classes, parts)
            self._samples += _held(kept)
        while len(self._answers) > bounds.max_answers or self._samples > bounds.max_samples:
            self._forget(next(iter(self._answers)))

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
        if found.is_ambiguous:
            message = f"{doing}: several answers had this id before their labels came"
            raise LabelError("ambiguous", message, "give each request an id of its own, or none: the agent gives one")
        if version is not None and version != found.stream[1]:
            raise LabelError("wrong_version", f"{doing}: version {found.stream[1]} has answered, not {version}")
        if self._monotonic() - found.answered_s > self._settings.max_age_s:
            raise LabelError("late", f"{doing}: it was answered more than {self._settings.max_age_s:g} s ago")
        return found

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
        self._samples -= _held(answer)
        answer.predicted, answer.parts = None, ()

    def _waits(self, place: tuple[str, str], now_s: float) -> bool:
        """Whether labels may still come for an earlier answer of a model and id, of which nobody knows which it was."""
        found = self._answers.get(place)
        if found is None or now_s - found.answered_s > self._settings.max_age_s:
            return False
        return found.is_ambiguous or found.predicted is not None

    def _forget(self, place: tuple[str, str]) -> None:
        gone = self._answers.pop(place, None)
        if gone is not None:
            self.settle(gone)


def _held(answer: Answer) -> int:
    """Return how many samples' labels are kept of an answer."""
    return 0 if answer.predicted is None else len(answer.predicted) * (1 + len(answer.parts))
