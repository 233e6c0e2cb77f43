"""Trusted time: the later of the system clock and a floor, for boards that have no battery behind their clock.

The floor is the latest of three: when this version was made, the issue time of the newest TUF timestamp that was
verified, and the last time this device saw. Only what the hub has signed lifts it without bound: a system clock that
jumps ahead and comes back leaves it where it was. docs/adr/0008 has the reasons.
"""

import threading
from collections.abc import Callable, Collection
from datetime import datetime, timedelta, timezone
from logging import getLogger
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from shoal_agent.durable import replace_file

_log = getLogger(__name__)
MADE_AT: Final = datetime(2026, 11, 1, tzinfo=timezone.utc)
"""No earlier than the release before this one; moved with the version."""
MOST_AHEAD: Final = timedelta(days=1)
"""How far what this device has seen of time may lie beyond what the hub has signed. Shorter than a timestamp lives:
after a wrong clock the device must not take the hub's present word for expired."""


def system_clock() -> datetime:
    """Return the system clock's time."""
    return datetime.now(timezone.utc)


class _Seen(BaseModel):
    """What is kept of time: the last one signed, by which keys, and the last one seen."""

    model_config = ConfigDict(frozen=True)

    signed_at: AwareDatetime | None = None
    signed_by: tuple[str, ...] = ()
    seen_at: AwareDatetime | None = None


class Clock:
    """The device's trusted time. Call it for the present; any thread may.

    Args:
        path: Where it is kept, `<data>/trust/clock.json`; None keeps nothing.
        system: The system clock.
        made_at: The floor of a device that knows nothing yet.
    """

    def __init__(
        self, path: Path | None, system: Callable[[], datetime] = system_clock, made_at: datetime = MADE_AT
    ) -> None:
        self._path = path
        self._system = system
        self._made_at = made_at
        self._lock = threading.Lock()
        self._seen = self._read()

    def __call__(self) -> datetime:
        """Return the trusted time."""
        return max(self._system(), self.floor)

    @property
    def floor(self) -> datetime:
        """The time that this device takes to have passed for certain."""
        return max(self._made_at, self._seen.signed_at or self._made_at, self._seen.seen_at or self._made_at)

    @property
    def is_behind(self) -> bool:
        """Whether the system clock is wrong for certain, so that nobody may check dates by it."""
        return self._system() < self.floor

    def is_replay(self, issued_at: datetime, keys: Collection[str]) -> bool:
        """Whether the same keys have signed something newer than `issued_at` that this device has verified."""
        seen = self._seen
        return seen.signed_at is not None and set(seen.signed_by) == set(keys) and issued_at < seen.signed_at

    def learn(self, issued_at: datetime, keys: Collection[str]) -> None:
        """Take over the issue time of a verified TUF timestamp.

        Args:
            issued_at: What was signed.
            keys: Ids of the keys of TUF's timestamp role. What other keys have said before counts no more: a
                stolen key that has signed a time far ahead loses its word with its role.
        """
        with self._lock:
            if self.is_replay(issued_at, keys):
                return
            is_by_others = set(self._seen.signed_by) != set(keys)
            seen_at = None if is_by_others else self._seen.seen_at  # it went by what those others have signed
            seen = _Seen(signed_at=issued_at, signed_by=tuple(sorted(keys)), seen_at=seen_at)
            if seen != self._seen:
                self._seen = seen
                self._write()

    def disbelieve(self, keys: Collection[str]) -> bool:
        """Forget a time that was signed by other keys than these; return whether there was one."""
        with self._lock:
            if self._seen.signed_at is None or set(self._seen.signed_by) == set(keys):
                return False
            self._seen = _Seen()
            self._write()
            return True

    def save(self) -> None:
        """Keep the present time, so that the next start does not begin earlier."""
        with self._lock:
            now = min(self(), max(self._made_at, self._seen.signed_at or self._made_at) + MOST_AHEAD)
            self._seen = self._seen.model_copy(update={"seen_at": now})
            self._write()

    def _read(self) -> _Seen:
        if self._path is None or not self._path.exists():
            return _Seen()
        try:
            return _Seen.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            _log.error("reading %s: %s; the hub's next timestamp sets the clock's floor again", self._path, error)
            return _Seen()

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            replace_file(self._path, self._seen.model_dump_json(exclude_none=True).encode())
        except OSError as error:  # the floor holds in memory; only the next start may begin earlier
            _log.error("keeping the time in %s: %s; free some disk space", self._path, error)
