"""Makes the broker follow what the database says of revoked devices, by level and within seconds.

The order matters: first the rules that keep a device out, then the end of its connection, then its retained messages.
Each step can be done again, and is noted after it was done, so a kill at any point resumes. It has a thread of its
own: a device that is stolen must not wait for an artifact that is being published.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from shoal_contract import topics
from shoal_hub.broker.access import DeviceAccess
from shoal_hub.database import Database, utc_now
from shoal_hub.devices.revocation import WORD, note_cleared, note_cut_off, read_pending, read_revoked
from shoal_hub.errors import HubError
from shoal_hub.events.record import record_event

log = logging.getLogger(__name__)

_AT_ONCE: Final = 16
_FIRST_RETRY: Final = timedelta(seconds=2)
_LAST_RETRY: Final = timedelta(minutes=1)
_REST_RATIO: Final = 1000.0
"""Without a word, and once all are cut off, it looks again after this many times the CPU that a look took."""
_LONGEST_REST_S: Final = 10.0
"""But no later than this."""
STRAYS: Final = tuple(topics.up_filter(channel) for channel in ("event", "telemetry", "events", "windows", "blob"))
"""No device has a reason to leave these retained; ingest clears what it sees, this what came while it was away."""


class Revocations:
    """Runs in its own thread from `start` to `stop`.

    Args:
        database: The hub's.
        access: The files that the broker reads.
        cut_off: Ends a device's connection; returns why it may still have one, or nothing.
        clear: Clears what is retained under topic filters.
        tick_s: How often it looks at most when nobody wakes it.
        clock: Tells the time.
    """

    def __init__(
        self,
        database: Database,
        access: DeviceAccess,
        cut_off: Callable[[str], str],
        clear: Callable[[Sequence[str]], object],
        *,
        tick_s: float,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._access = access
        self._cut_off = cut_off
        self._clear = clear
        self._tick_s = tick_s
        self._clock = clock
        self._word = threading.Event()
        self._is_stopping = False
        self._is_read = False
        self._has_swept = False
        self._retries: dict[str, tuple[datetime, timedelta]] = {}
        self._thread = threading.Thread(target=self._run, name="revocations")

    def start(self) -> None:
        """Begin, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._is_stopping = True
        self._word.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def has_ended(self) -> bool:
        """Whether the thread has begun and is over, though nobody has stopped it."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._is_stopping

    def hear(self, what: frozenset[str]) -> None:
        """Look at once if there may be something to follow."""
        if WORD in what:
            self._word.set()

    def step(self) -> None:
        """Make the broker follow, as far as it can be reached.

        Raises:
            HubError, SQLAlchemyError, OSError: Something was not done; the next step does it.
        """
        now = self._clock()
        with self._database.session() as session:
            pending, revoked = read_pending(session, now), read_revoked(session, now)
        due = {one: gone for one, gone in pending.to_cut_off.items() if self._is_due(one, now)}
        # A broker that was told and died, or a hub that died before it told: whoever is to be cut off, tell it again.
        if self._access.write(revoked, now) or due or not self._is_read:
            self._is_read = False
            self._access.reload()
            self._is_read = True
        self._follow(due)
        self._clear_again(pending.to_clear)
        if not self._has_swept:
            self._clear(STRAYS)
            self._has_swept = True

    def _follow(self, due: dict[str, bool]) -> None:
        for batch in _batches(list(due)):
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                problems = dict(zip(batch, pool.map(self._cut_off, batch), strict=True))
            out = [one for one, problem in problems.items() if not problem]
            if out:
                # What a revoked device said of itself last, `online` above all, is not to be told to anybody.
                self._clear([topics.device_filter(one) if due[one] else topics.device_up_filter(one) for one in out])
                with self._database.transaction() as session:
                    note_cut_off(session, out, self._clock())
            for device_id, problem in problems.items():
                self._note(device_id, problem)

    def _clear_again(self, device_ids: Sequence[str]) -> None:
        """Clear what was on its way to the broker when the device was cut off."""
        for batch in _batches(device_ids):
            self._clear([topics.device_filter(one) for one in batch])
            with self._database.transaction() as session:
                note_cleared(session, batch, self._clock())

    def _is_due(self, device_id: str, now: datetime) -> bool:
        return device_id not in self._retries or self._retries[device_id][0] <= now

    def _note(self, device_id: str, problem: str) -> None:
        if not problem:
            self._retries.pop(device_id, None)
            return
        is_first = device_id not in self._retries
        wait = min(2 * self._retries[device_id][1], _LAST_RETRY) if not is_first else _FIRST_RETRY
        self._retries[device_id] = (self._clock() + wait, wait)
        text = (
            f"{device_id} is revoked and may still be connected: {problem}; if the broker runs elsewhere, copy "
            f"{self._access.acl_path} and {self._access.crl_path} to it and have it read them again (SIGHUP)"
        )
        log.warning("%s", text)
        if is_first:
            with self._database.transaction() as session:
                record_event(session, "device_not_cut_off", text, device_id=device_id, severity="error")

    def _run(self) -> None:
        while not self._is_stopping:
            began_cpu_s, is_done = time.thread_time(), False
            try:
                self.step()
                is_done = True
            except (HubError, OSError) as error:
                log.info("the broker does not follow a revocation yet: %s; it is tried again", error)
            except SQLAlchemyError:
                log.exception("a revocation could not be followed; it is tried again")
            took_s = time.thread_time() - began_cpu_s
            rest_s = min(_REST_RATIO * took_s, _LONGEST_REST_S) if is_done and not self._retries else 0.0
            tick_s = min(self._tick_s, _FIRST_RETRY.total_seconds()) if self._retries else self._tick_s
            self._word.wait(max(tick_s, rest_s))
            self._word.clear()


def _batches(device_ids: Sequence[str]) -> list[Sequence[str]]:
    return [device_ids[start : start + _AT_ONCE] for start in range(0, len(device_ids), _AT_ONCE)]
