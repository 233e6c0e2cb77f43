"""Bounds how many logins are worked on at once: they take memory or wait for others, and must not take every thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from shoal_hub.errors import TooManyRequestsError

_RETRY_AFTER_S: Final = 5.0


class Turns:
    """So many at once, and so many more that wait; who comes after them is sent away."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._turns = threading.BoundedSemaphore(at_once)
        self._places = threading.BoundedSemaphore(at_once + waiting)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a turn for the length of the block.

        Raises:
            TooManyRequestsError: Too many wait already.
        """
        if not self._places.acquire(blocking=False):
            raise TooManyRequestsError("too many logins come at once", "try again in a moment", _RETRY_AFTER_S)
        try:
            with self._turns:
                yield
        finally:
            self._places.release()
