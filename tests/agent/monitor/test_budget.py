"""What is sketched has a bound in total and for each request; what is beyond is told, and the rest is spread evenly."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.monitor.test_monitor import CONFIG, Clock, _counts, _data, _served, _take
from tests.fixtures import tiny

from shoal_agent.monitor import Monitor
from shoal_agent.monitor.budget import SketchBudget
from shoal_agent.settings import MonitorSettings
from shoal_contract.telemetry import OutboxPosition, Window

PLACE = OutboxPosition(stream="0" * 16, sequence=1, oldest=1)


@dataclass
class Seconds:
    """A monotonic clock that moves only when told to."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def _ask(monitor: Monitor, samples: int, seed: int = 0) -> None:
    x = _data(samples, seed)
    monitor.observe(_SERVED, {"x": x}, {"probabilities": tiny.probabilities(x)}, 1.0, f"a-{seed}")


_SERVED = _served(tiny.tiny_manifest())


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 30), st.floats(0, 3)), max_size=40),
    st.integers(1, 500),
)
def test_no_stretch_of_time_takes_more_values_than_its_share(steps: list[tuple[int, int, float]], rate: int) -> None:
    budget, now_s = SketchBudget(MonitorSettings(max_values_per_s=rate), 0.0), 0.0
    passed: list[tuple[float, int]] = []
    for rows, width, wait_s in steps:
        now_s += wait_s
        granted = budget.grant(rows, width, now_s)
        assert 0 <= granted <= rows
        passed.append((now_s, granted * width))
        for first, (began_s, _) in enumerate(passed):
            assert sum(values for _, values in passed[first:]) <= rate * (now_s - began_s + 2) + 30


def test_what_was_granted_and_did_not_come_is_there_again() -> None:
    budget = SketchBudget(MonitorSettings(max_values_per_s=100), 0.0)
    assert budget.grant(10, 10, 0.0) == 10
    assert budget.grant(1, 10, 0.0) == 0
    budget.give_back(4, 10)
    assert budget.grant(10, 10, 0.0) == 4


def test_a_row_wider_than_the_budget_passes_now_and_then() -> None:
    budget = SketchBudget(MonitorSettings(max_values_per_s=100), 0.0)
    assert [budget.grant(2, 1000, float(second)) for second in range(21)] == [1, *[0] * 9, 1, *[0] * 9, 1]


def test_of_a_large_request_evenly_spaced_samples_are_sketched() -> None:
    budget = SketchBudget(MonitorSettings(max_values_per_request=40), 0.0)
    rows = np.arange(400, dtype=np.float32).reshape(100, 4)
    assert budget.choose(rows, 0.0)[:, 0].tolist() == [40.0 * number for number in range(10)]
    assert budget.choose(rows[:7], 0.0) is not rows
    assert budget.choose(rows[:7], 0.0).tolist() == rows[:7].tolist()


def test_under_load_a_share_is_sketched_and_the_window_says_how_much_is_not() -> None:
    clock, seconds = Clock(), Seconds()
    monitor = Monitor(clock, monotonic=seconds, settings=MonitorSettings(max_values_per_s=40))
    for number in range(100):  # 100 a second of 4 values each: ten times what may be sketched
        _ask(monitor, 1, number)
        seconds.now_s += 0.01
    window = _take(monitor, clock)
    message = Window.model_validate_json(window.to_message(PLACE).to_bytes())
    assert message.unsketched == window.unsketched == 100 - _counts(window.features)[0].sum()
    assert 10 <= 100 - window.unsketched <= 20
    assert (window.requests, window.samples, sum(window.predictions), sum(window.latency)) == (100, 100, 100, 100)


def test_the_share_is_spread_over_the_whole_time() -> None:
    clock, seconds = Clock(), Seconds()
    monitor = Monitor(clock, monotonic=seconds, settings=MonitorSettings(max_values_per_s=40))
    sketched = []
    for _ in range(5):
        for number in range(50):
            _ask(monitor, 1, number)
            seconds.now_s += 0.02
        window = monitor.take_windows(clock.advance(100), CONFIG)[0]
        sketched.append(window.samples - window.unsketched)
    # 10 a second, and what the budget held at the start.
    assert all(9 <= share <= 21 for share in sketched)
    assert sum(sketched) <= 5 * 10 + 11


def test_a_large_request_is_thinned_and_all_its_samples_count() -> None:
    clock = Clock()
    monitor = Monitor(clock, settings=MonitorSettings(max_values_per_request=400))
    _ask(monitor, 1000)
    window = _take(monitor, clock)
    assert (window.samples, window.unsketched, sum(window.predictions)) == (1000, 900, 1000)
    assert _counts(window.features).sum(axis=1).tolist() == [100] * tiny.FEATURES


def test_with_room_for_all_nothing_is_left_out_and_the_message_is_as_ever() -> None:
    clock = Clock()
    monitor = Monitor(clock)
    _ask(monitor, 3)
    window = _take(monitor, clock)
    assert window.unsketched == 0
    assert b"unsketched" not in window.to_message(PLACE).to_bytes()


@pytest.mark.parametrize("other", ["float64", "batch", "column_major", "flat", "wide scores"])
def test_a_request_unlike_the_usual_one_counts_the_same(other: str) -> None:
    clock, plain = Clock(), Monitor(Clock())
    monitor, x = Monitor(clock), _data(40)
    for number, row in enumerate(x):
        one = row[np.newaxis]
        scores = {"probabilities": tiny.probabilities(one)}
        plain.observe(_SERVED, {"x": one.astype(np.float64)}, scores, 1.0, f"a-{number}")
        if number % 3 and other == "float64":
            one = one.astype(np.float64)
        if other == "column_major":
            one = np.asfortranarray(np.concatenate([one, one]))[:1]
        if number % 2 and other == "flat":
            one = one.reshape(1, 2, 2)
        if number % 5 == 0 and other == "wide scores":
            scores = {"probabilities": np.concatenate([scores["probabilities"], np.zeros((1, 2), "f4")], axis=1)}
        if number % 4 == 0 and other == "batch":
            monitor.observe(_SERVED, {"x": x[:0]}, {"probabilities": tiny.probabilities(x[:0])}, 1.0, "none")
        monitor.observe(_SERVED, {"x": one}, scores, 1.0, f"a-{number}")
    window, expected = _take(monitor, clock), _take(plain, Clock())
    assert _counts(window.features).tolist() == _counts(expected.features).tolist()
    assert (window.predictions, window.confidence, window.samples) == (
        expected.predictions,
        expected.confidence,
        expected.samples,
    )


def test_two_versions_that_answer_in_turn_are_counted_apart_and_both_stay() -> None:
    clock, monitor = Clock(), Monitor(Clock())
    first, second = (replace(_SERVED, version=version, manifest_sha256=f"{version}" * 64) for version in (1, 2))
    for number in range(30):
        x = _data(1, number)
        for served in (first, second):
            monitor.observe(
                served, {"x": x}, {"probabilities": tiny.probabilities(x)}, 1.0, f"{served.version}-{number}"
            )
    assert monitor.label("tiny", "1-0", [0]).version == 1
    assert monitor.label("tiny", "2-29", [0]).version == 2
    windows = monitor.take_windows(clock.advance(100), CONFIG)
    assert sorted((window.version, window.samples) for window in windows) == [(1, 30), (2, 30)]
