"""How much all blobs of one purpose may take at the hub."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

from sqlmodel import Session

_COUNT_EVERY_S: Final = 10.0


class Room:
    """A bound on what is kept. It is counted now and then, which goes through all of it, and added to in between.

    Args:
        max_bytes: What may be kept.
        setting: Its name, for who is refused.
        count: Returns the bytes that are kept, by the database.
        clock_s: Seconds that only go forward.
    """

    def __init__(
        self,
        max_bytes: int,
        setting: str,
        count: Callable[[Session], int],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._setting = setting
        self._count = count
        self._clock_s = clock_s
        self._lock = Lock()  # offers come in one thread of ingest, whole blobs in another
        self._kept_bytes = 0
        self._counted_at_s: float | None = None

    def refusal(self, session: Session, size_bytes: int) -> str:
        """Return why there is no room for so many bytes more, or nothing if there is."""
        now_s = self._clock_s()
        with self._lock:
            if self._counted_at_s is None or now_s - self._counted_at_s > _COUNT_EVERY_S:
                self._kept_bytes, self._counted_at_s = self._count(session), now_s
            kept_bytes = self._kept_bytes
        if kept_bytes + size_bytes > self._max_bytes:
            return f"the hub keeps {kept_bytes} bytes of them, at most {self._max_bytes} ({self._setting})"
        return ""

    def add(self, size_bytes: int) -> None:
        """Note that so many bytes more are kept."""
        with self._lock:
            self._kept_bytes += size_bytes
