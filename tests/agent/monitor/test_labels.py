"""True labels that come back are held against what was predicted, in constant memory, and are counted once."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.monitor.test_monitor import CONFIG, NOW_ALL, Clock, _data, _served
from tests.fixtures import tiny

from shoal_agent.monitor import FinishedWindow, LabelError, LabelSettings, Monitor
from shoal_agent.monitor.answers import Answers, Part
from shoal_agent.serving import ServedModel
from shoal_contract.telemetry import OutboxPosition

STREAM = ("tiny", 1, "a" * 64)


@dataclass
class Device:
    """A monitor on a clock of its own, and the answers that it has seen."""

    bounds: LabelSettings = LabelSettings()  # noqa: RUF009 - frozen
    clock: Clock = field(default_factory=Clock)
    age_s: float = 0.0

    def __post_init__(self) -> None:
        self.monitor = Monitor(self.clock, self.bounds, lambda: self.age_s)

    def answer(self, served: ServedModel, answer_id: str, samples: int = 1, seed: int = 0) -> list[int]:
        """Answer one request; return the labels that were predicted."""
        x = _data(samples, seed)
        scores = tiny.probabilities(x)
        self.monitor.observe(served, {"x": x}, {"probabilities": scores}, 1.0, answer_id)
        return [int(label) for label in scores.argmax(axis=1)]

    def windows(self) -> list[FinishedWindow]:
        return self.monitor.take_windows(self.clock.advance(100), NOW_ALL)

    def fate(self, answer_id: str, labels: list[int], version: int | None = None) -> str:
        with pytest.raises(LabelError) as caught:
            self.monitor.label("tiny", answer_id, labels, version)
        return caught.value.fate


@pytest.fixture
def served() -> ServedModel:
    return _served(tiny.tiny_manifest())


def test_labels_of_a_batch_are_counted_sample_by_sample(served: ServedModel) -> None:
    device = Device()
    predicted = device.answer(served, "a-1", samples=5)
    truth = [predicted[0], *((label + 1) % 3 for label in predicted[1:3]), *predicted[3:]]
    counted = device.monitor.label("tiny", "a-1", truth, version=1)
    assert (counted.version, counted.labelled, counted.correct) == (1, 5, 3)
    [window] = device.windows()
    message = window.to_message(OutboxPosition(stream="0" * 16, sequence=1, oldest=1))
    assert (message.requests, message.labelled, message.correct) == (1, 5, 3)


def test_a_label_that_comes_after_its_window_makes_one_of_its_own(served: ServedModel) -> None:
    device = Device()
    predicted = device.answer(served, "a-1")
    [first] = device.windows()
    device.monitor.label("tiny", "a-1", predicted)
    assert device.monitor.take_windows(device.clock.now, CONFIG) == [], "it is neither full nor old enough"
    [second] = device.windows()
    assert (first.labelled, second.requests, second.samples, second.labelled, second.correct) == (0, 0, 0, 1, 1)
    assert second.started_at >= first.ended_at


def test_labels_alone_fill_a_window(served: ServedModel) -> None:
    device = Device()
    answers = [(f"a-{number}", device.answer(served, f"a-{number}", seed=number)) for number in range(10)]
    device.windows()
    for answer_id, predicted in answers:
        device.monitor.label("tiny", answer_id, predicted)
    [window] = device.monitor.take_windows(device.clock.now, CONFIG)
    assert (window.labelled, window.correct) == (CONFIG.window_requests, CONFIG.window_requests)


def test_a_label_is_counted_for_the_version_that_answered_whatever_serves_now(served: ServedModel) -> None:
    device, second = Device(), _served(tiny.tiny_manifest(2), "b" * 64)
    predicted = device.answer(served, "a-1")
    device.answer(second, "a-2")
    device.monitor.label("tiny", "a-1", predicted)
    labelled = {window.version: window.labelled for window in device.windows()}
    assert labelled == {1: 1, 2: 0}


def test_what_can_not_be_counted_is_refused_and_counted_by_its_kind(served: ServedModel) -> None:
    device = Device()
    predicted = device.answer(served, "a-1", samples=2)
    assert device.fate("a-9", [0]) == "unknown"
    assert device.fate("a-1", predicted, version=2) == "wrong_version"
    assert [device.fate("a-1", labels) for labels in ([0], [0, 0, 0], [0, 3], [-1, 0])] == ["misfit"] * 4
    device.monitor.label("tiny", "a-1", predicted)
    assert device.fate("a-1", predicted) == "repeated"
    expected = {"taken": 1, "unknown": 1, "late": 0, "repeated": 1, "ambiguous": 0, "wrong_version": 1, "misfit": 4}
    assert device.monitor.label_fates() == expected
    [window] = device.windows()
    assert (window.labelled, window.correct) == (2, 2), "what was refused counts nowhere"


def test_a_label_that_comes_too_late_counts_no_more(served: ServedModel) -> None:
    device = Device()
    predicted = device.answer(served, "a-1")
    device.age_s = device.bounds.max_age_s + 1
    assert device.fate("a-1", predicted) == "late"


def test_a_label_of_a_version_that_is_watched_no_more_is_late() -> None:
    device = Device()
    predicted = device.answer(_served(tiny.tiny_manifest(1), "1" * 64), "a-1")
    for version in (2, 3):
        device.answer(_served(tiny.tiny_manifest(version), str(version) * 64), f"a-{version}")
    assert device.fate("a-1", predicted) == "late"


def test_an_id_that_several_answers_had_before_their_labels_came_names_none_of_them(served: ServedModel) -> None:
    device = Device()
    for samples in (1, 1, 1, 0, device.bounds.max_samples_each + 1):
        predicted = device.answer(served, "same", samples=samples)
        device.answer(served, "other", samples=1, seed=samples)
    assert device.fate("same", predicted) == "ambiguous"
    assert device.fate("same", [0]) == "ambiguous", "it stays so, whichever version or number of labels is meant"
    assert device.monitor.label_fates()["ambiguous"] == 2


def test_an_id_whose_earlier_answer_was_labelled_or_is_too_old_names_the_new_one(served: ServedModel) -> None:
    device = Device()
    device.monitor.label("tiny", "same", device.answer(served, "same"))
    predicted = device.answer(served, "same")
    assert device.monitor.label("tiny", "same", predicted).labelled == 1
    device.answer(served, "old")
    device.age_s = device.bounds.max_age_s + 1
    assert device.monitor.label("tiny", "old", device.answer(served, "old")).labelled == 1


def test_labels_of_the_version_that_serves_count_however_many_candidates_came_and_went() -> None:
    device = Device()
    versions = {number: _served(tiny.tiny_manifest(number), f"{number}" * 64) for number in range(1, 6)}
    predicted = device.answer(versions[1], "a-1")
    for candidate in range(2, 6):
        device.answer(versions[candidate], f"c-{candidate}")
        assert device.monitor.label("tiny", f"a-{candidate - 1}", predicted).version == 1
        predicted = device.answer(versions[1], f"a-{candidate}")


def test_labels_of_large_answers_fill_a_window_no_sooner_than_the_answers_do(served: ServedModel) -> None:
    device = Device()
    taken = []
    for number in range(2 * CONFIG.window_requests):
        predicted = device.answer(served, f"a-{number}", samples=3 * CONFIG.window_requests, seed=number)
        device.monitor.label("tiny", f"a-{number}", predicted)
        taken += device.monitor.take_windows(device.clock.now, CONFIG)
    assert [window.requests for window in taken] == [CONFIG.window_requests] * 2


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9), st.booleans()), max_size=60))
def test_what_is_remembered_is_bounded_and_the_latest(steps: list[tuple[int, int, bool]]) -> None:
    bounds = LabelSettings(max_answers=5, max_samples=12, max_samples_each=6)
    answers, serial = Answers(bounds, lambda: 0.0), itertools.count()
    waiting: dict[str, int] = {}
    ambiguous: set[str] = set()
    for samples, number, is_labelled in steps:
        answer_id = f"{number}" if number < 3 else f"n{next(serial)}"
        if waiting.pop(answer_id, 0):
            ambiguous.add(answer_id)
        answers.remember(STREAM, [(answer_id, samples, 0.0)], np.zeros(samples, dtype=np.int32))
        if answer_id in ambiguous:
            waiting[answer_id] = 0
        elif 0 < samples <= bounds.max_samples_each:
            waiting[answer_id] = samples
        while len(waiting) > bounds.max_answers or sum(waiting.values()) > bounds.max_samples:
            gone = next(iter(waiting))
            del waiting[gone]
            ambiguous.discard(gone)
        if is_labelled and answer_id in waiting and answer_id not in ambiguous:
            answers.settle(answers.find("tiny", answer_id, None, "finding it"))
            waiting[answer_id] = 0
        assert (len(answers), answers.samples) == (len(waiting), sum(waiting.values()))
        for known in waiting.keys() - ambiguous:
            assert answers.find("tiny", known, None, "finding it").stream == STREAM


def test_an_id_that_is_too_long_is_not_remembered(served: ServedModel) -> None:
    device = Device()
    long = "x" * (device.bounds.max_id_chars + 1)
    predicted = device.answer(served, long)
    assert device.fate(long, predicted) == "unknown"


def test_where_no_answers_are_to_be_remembered_none_are(served: ServedModel) -> None:
    device = Device(LabelSettings(max_answers=0))
    predicted = device.answer(served, "a-1")
    assert device.fate("a-1", predicted) == "unknown"
    [window] = device.windows()
    assert (window.requests, window.samples, window.labelled) == (1, 1, 0)


def test_answers_of_a_composition_keep_the_same_bounds_and_are_labelled_once() -> None:
    now_s = 0.0
    answers = Answers(LabelSettings(max_answers=3, max_samples=20, max_samples_each=4, max_age_s=10.0), lambda: now_s)
    both = ("both", 1, "b" * 64)

    def compose(answer_id: str, samples: int) -> None:
        chosen = np.zeros((samples, 2), dtype=np.int64)
        answers.remember_composed(both, answer_id, chosen[:, 0], 5, Part.each([STREAM, STREAM], chosen))

    compose("c-1", 3)
    assert answers.samples == 9, "its own labels and those of two members"
    found = answers.find("both", "c-1", None, "")
    assert (found.classes, len(found.parts), found.correct([0, 1, 0], 5, "")) == (5, 2, 2)
    answers.settle(found)
    again = answers.find("both", "c-1", None, "")
    assert (again.classes, again.parts, answers.samples) == (5, (), 0)
    with pytest.raises(LabelError) as caught:
        again.correct([0, 1, 0], 5, "")
    assert caught.value.fate == "repeated"

    compose("c-1", 2)
    assert answers.find("both", "c-1", None, "").predicted is not None, "the one before was labelled: no doubt is left"
    compose("c-1", 2)
    with pytest.raises(LabelError) as caught:
        answers.find("both", "c-1", None, "")
    assert (caught.value.fate, answers.samples) == ("ambiguous", 0)

    compose("c-2", 5)
    compose("", 1)
    assert (len(answers), answers.samples) == (1, 0), "too many samples, no id"
    compose("c-3", 4)
    compose("c-4", 3)
    assert (len(answers), answers.samples) == (1, 9), "the oldest make room for samples"
    answers.remember(STREAM, [("a-1", 1, 0.0), ("a-2", 1, 0.0), ("a-3", 1, 0.0)], np.zeros(3, dtype=np.int32))
    assert (len(answers), answers.samples) == (3, 3), "and for answers"


def test_no_answer_of_a_composition_is_kept_where_none_is() -> None:
    answers = Answers(LabelSettings(max_answers=0), lambda: 0.0)
    answers.remember_composed(STREAM, "c-1", np.zeros(1, dtype=np.int64), 2, ())
    assert (len(answers), answers.samples) == (0, 0)
