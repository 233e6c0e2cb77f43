"""Has the desired states composed whose intents have changed, many in one transaction, before they are published.

One that cannot be composed must not hold up the others: a batch that fails is gone through device by device.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError

from shoal_hub.controller.election import FencedError
from shoal_hub.database import Database
from shoal_hub.devices.desired import refresh_states, stale_devices, take_marks
from shoal_hub.errors import HubError
from shoal_hub.events.record import record_event
from shoal_hub.trust.director import Director
from shoal_hub.trust.version_keys import VersionKeys

log = logging.getLogger(__name__)

BATCH: Final = 500
"""States that one transaction composes: it holds the database for about as many tenths of a millisecond."""
_MAX_REASON: Final = 1000


class DesiredComposer:
    """Composes by level what is marked stale; which devices could not be composed is kept in memory.

    Args:
        database: Where intents and states are.
        director: Signs.
        version_keys: Opens the keys of encrypted versions.
        life: How long a device may start to act on a state.
    """

    def __init__(self, database: Database, director: Director, version_keys: VersionKeys, life: timedelta) -> None:
        self._database = database
        self._director = director
        self._version_keys = version_keys
        self._life = life
        self._broken: dict[str, str] = {}

    def step(self, now: datetime, is_stopping: Callable[[], bool] = lambda: False) -> Iterator[list[str]]:
        """Compose every state that is stale now, each once; yield the devices with a new envelope, batch by batch."""
        tried: set[str] = set()
        while not is_stopping():
            # What is broken stays marked, and must not fill the batch.
            with self._database.session() as session:
                stale = set(stale_devices(session, BATCH + len(tried & self._broken.keys()))) - tried
            if not stale:
                return
            tried |= stale
            yield self._compose(sorted(stale - self._broken.keys()), now)
            for device_id in sorted(stale & self._broken.keys()):
                yield self._compose_one(device_id, now)

    def _compose(self, device_ids: Sequence[str], now: datetime) -> list[str]:
        try:
            return self._compose_together(device_ids, now)
        except FencedError:
            raise
        except (ValidationError, HubError):  # nothing of the batch is kept: whose state it was comes out one by one
            return [device_id for one in device_ids for device_id in self._compose_one(one, now)]

    def _compose_one(self, device_id: str, now: datetime) -> list[str]:
        try:
            new = self._compose_together([device_id], now)
        except FencedError:
            raise
        except (ValidationError, HubError) as error:
            self._note_broken(device_id, str(error)[:_MAX_REASON])
            return []
        self._broken.pop(device_id, None)
        return new

    def _compose_together(self, device_ids: Sequence[str], now: datetime) -> list[str]:
        with self._database.transaction() as session:
            taken = take_marks(session, device_ids)
            return refresh_states(session, self._director, self._version_keys, taken, now, self._life)

    def _note_broken(self, device_id: str, reason: str) -> None:
        """Tell once for each reason that a device's state cannot be composed; it is tried again at each step."""
        if self._broken.get(device_id) == reason:
            return
        self._broken[device_id] = reason
        text = f"the desired state of {device_id} cannot be composed: {reason}"
        log.error("%s", text)
        with self._database.transaction() as session:
            record_event(session, "desired_broken", text, device_id=device_id, severity="error")
