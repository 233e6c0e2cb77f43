"""When words are followed: an operator's at once, devices' and the controller's own gathered, none of them for ever."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_hub.controller.pace import Pace, Speaker, SweepPace
from shoal_hub.rollouts.progress import STEPS

ROLLOUTS, DEVICES, UNHEARD = frozenset({"rollouts"}), frozenset({"devices"}), frozenset({"events", STEPS})
LONGEST_REST_S = 2.0
FROM = {ROLLOUTS: Speaker.OPERATOR, DEVICES: Speaker.DEVICES, UNHEARD: Speaker.DEVICES}


def test_a_word_after_silence_is_followed_within_a_moment() -> None:
    for what in (ROLLOUTS, DEVICES):
        pace = Pace(LONGEST_REST_S)
        pace.hear(what, 100.0, FROM[what])
        assert 100.0 < pace.due_s < 100.05
        assert pace.take() == what
        assert pace.due_s == math.inf


def test_words_for_people_who_watch_are_not_followed() -> None:
    pace = Pace(LONGEST_REST_S)
    pace.hear(UNHEARD, 100.0, Speaker.OPERATOR)
    assert (pace.due_s, pace.take()) == (math.inf, frozenset())


@pytest.mark.parametrize("word", ["captures", "batches", "features"])
def test_samples_and_answers_that_come_wake_nobody_and_what_an_operator_wants_of_devices_does(word: str) -> None:
    pace = Pace(LONGEST_REST_S)
    pace.rest(0.02, 100.0, 5000)
    pace.hear(frozenset({word, "events"}), 100.0, Speaker.DEVICES)
    assert pace.due_s == math.inf
    pace.hear(frozenset({word, "events", "intents"}), 100.1, Speaker.OPERATOR)
    assert pace.due_s < 100.15


def test_what_devices_say_after_a_look_is_gathered_and_an_operators_word_is_not() -> None:
    pace = Pace(LONGEST_REST_S)
    pace.rest(0.02, 100.0)
    pace.hear(DEVICES, 100.1, Speaker.DEVICES)
    assert 100.5 < pace.due_s <= 101.0
    pace.hear(ROLLOUTS, 100.2, Speaker.OPERATOR)
    assert pace.due_s < 100.25
    assert pace.take() == ROLLOUTS | DEVICES


def test_what_the_controller_says_itself_is_gathered_and_the_same_word_of_another_is_not() -> None:
    ours, others = Pace(LONGEST_REST_S), Pace(LONGEST_REST_S)
    for pace, said_by in ((ours, Speaker.CONTROLLER), (others, Speaker.OPERATOR)):
        pace.rest(0.02, 100.0)
        pace.hear(ROLLOUTS, 100.0, said_by)
    assert ours.due_s > 100.5
    assert others.due_s < 100.05


def test_a_quick_look_is_followed_by_a_short_rest_and_a_slow_one_never_fills_the_time() -> None:
    for took_s, least_s, most_s in ((0.005, 0.1, 0.2), (0.1, 1.9, 2.0), (2.0, 7.9, 8.1)):
        pace = Pace(LONGEST_REST_S)
        pace.rest(took_s, 100.0)
        pace.hear(DEVICES, 100.0, Speaker.DEVICES)
        assert least_s < pace.due_s - 100.0 < most_s + 0.1


@given(st.integers(0, 10**6), st.floats(0.0, 10.0))
def test_the_more_devices_are_at_it_the_longer_their_words_wait_but_never_longer_than_the_setting_says(
    at_it: int, longest_s: float
) -> None:
    few, many = Pace(longest_s), Pace(longest_s)
    few.rest(0.0, 100.0)
    many.rest(0.0, 100.0, at_it)
    for pace in (few, many):
        pace.hear(DEVICES, 100.0, Speaker.DEVICES)
    assert few.due_s <= many.due_s <= 100.0 + longest_s + 0.1
    assert many.due_s >= 100.0 + min(longest_s, 0.005 * at_it)


def test_it_rests_after_a_look_as_long_as_devices_words_would_wait() -> None:
    pace = Pace(LONGEST_REST_S)
    assert not pace.is_resting(100.0)
    pace.rest(0.02, 100.0, 5000)
    assert pace.is_resting(101.9)
    assert not pace.is_resting(102.0)


def test_an_operators_word_does_not_wait_however_many_devices_are_at_it() -> None:
    pace = Pace(LONGEST_REST_S)
    pace.rest(0.02, 100.0, 5000)
    pace.hear(DEVICES, 100.0, Speaker.DEVICES)
    assert pace.due_s > 101.9
    pace.hear(ROLLOUTS, 100.1, Speaker.OPERATOR)
    assert pace.due_s < 100.15


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([ROLLOUTS, DEVICES, UNHEARD])), max_size=60))
def test_words_without_an_end_are_followed_all_the_same(words: list[tuple[int, frozenset[str]]]) -> None:
    pace, now_s, first_s = Pace(LONGEST_REST_S), 0.0, math.inf
    for gap_ms, what in words:
        now_s += gap_ms / 1000
        pace.hear(what, now_s, FROM[what])
        if what != UNHEARD:
            first_s = min(first_s, now_s)
        assert pace.due_s <= first_s + 0.21


def test_a_small_fleet_is_gone_through_every_few_ticks_and_a_large_one_now_and_then_but_within_the_minute() -> None:
    for took_s, least_s, most_s in ((0.0025, 4.9, 5.1), (0.015, 29.9, 30.1), (5.0, 59.9, 60.1)):
        pace = SweepPace(60.0)
        assert pace.is_due(100.0)
        pace.rest(took_s, 100.0)
        assert pace.is_due(100.0 + most_s)
        assert not pace.is_due(100.0 + least_s)
