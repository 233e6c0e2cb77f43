"""Windows of a stream by count and by time, with a clock that only messages move."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_training.ingestion.windows import Message, Window, windows


class Stream:
    """Messages at given times; waiting for one is what makes time pass."""

    def __init__(self, times_s: list[float], *, ends: bool = True) -> None:
        self.now = 0.0
        self._times = list(times_s)
        self._ends = ends

    def clock(self) -> float:
        return self.now

    def receive(self, seconds: float) -> Message | Literal["end"] | None:
        if not self._times and self._ends:
            return "end"
        if not self._times or self._times[0] > self.now + seconds:
            self.now += seconds
            return None
        at = self._times.pop(0)
        self.now = max(self.now, at)
        return Message(str(at).encode())


def parted(times_s: list[float], window: Window, idle_s: float = 1e6, *, ends: bool = True) -> list[list[float]]:
    stream = Stream(times_s, ends=ends)
    return [[float(one.payload) for one in held] for held in windows(stream.receive, window, idle_s, stream.clock)]


def test_a_window_by_count_is_full_with_its_last_message_and_the_rest_is_one_too() -> None:
    assert parted([0, 1, 2, 3, 4], Window(messages=2)) == [[0, 1], [2, 3], [4]]


def test_a_window_by_time_ends_on_time_also_without_a_message() -> None:
    assert parted([0, 1, 25], Window(seconds=10)) == [[0, 1], [], [25]]


def test_the_first_bound_that_is_reached_ends_a_window() -> None:
    assert parted([0, 1, 2, 30, 31], Window(messages=2, seconds=10)) == [[0, 1], [2], [], [30, 31]]


def test_a_stream_that_is_silent_for_long_has_ended() -> None:
    assert parted([0, 1], Window(messages=9), idle_s=5, ends=False) == [[0, 1]]
    assert parted([], Window(messages=9), idle_s=5, ends=False) == []


def test_a_window_without_a_bound_is_none() -> None:
    with pytest.raises(ValueError, match="`messages` or `seconds` expected"):
        Window()


@given(
    st.lists(st.floats(0, 100), max_size=40).map(sorted),
    st.none() | st.integers(1, 9),
    st.none() | st.floats(0.5, 50),
)
def test_windows_hold_every_message_once_in_order_and_keep_their_bounds(
    times_s: list[float], messages: int | None, seconds: float | None
) -> None:
    if messages is None and seconds is None:
        messages = 3
    found = parted(times_s, Window(messages=messages, seconds=seconds))
    assert [at for held in found for at in held] == [float(str(at)) for at in times_s]
    assert all(len(held) <= (messages or 1_000) for held in found)
    assert all(not held or held[-1] - held[0] <= (seconds or 1_000) for held in found)
