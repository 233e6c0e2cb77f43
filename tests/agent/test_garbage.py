"""The collector goes through what is new, and leaves alone what was loaded at the start."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from shoal_agent.garbage import keep_what_is_loaded


class Circle:
    """Refers to itself: the collector alone frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_loaded_is_left_alone_and_what_is_new_is_not() -> None:
    before = weakref.ref(Circle())
    kept = Circle()
    keep_what_is_loaded()
    assert before() is None, "garbage is not kept"
    assert gc.get_freeze_count() > 1000
    assert all(one is not kept for one in gc.get_objects())
    after = weakref.ref(Circle())
    gc.collect()
    assert after() is None
