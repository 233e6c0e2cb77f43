"""Threads take turns more often, and the collector leaves alone what was loaded at the start."""

import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from shoal_agent.interpreter import SWITCH_INTERVAL_S, put_answers_first


class Circle:
    """Refers to itself: the collector alone frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _interpreter_as_before() -> Iterator[None]:
    interval_s = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval_s)
    gc.unfreeze()


def test_what_is_loaded_is_left_alone_and_what_is_new_is_not() -> None:
    before = weakref.ref(Circle())
    kept = Circle()
    put_answers_first()
    assert before() is None, "garbage is not kept"
    assert gc.get_freeze_count() > 1000
    assert all(one is not kept for one in gc.get_objects())
    after = weakref.ref(Circle())
    gc.collect()
    assert after() is None


def test_threads_take_turns_more_often() -> None:
    put_answers_first()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
