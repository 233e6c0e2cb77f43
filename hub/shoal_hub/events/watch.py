"""Watches for changes on behalf of one live reader: the words of the feed, and the database where a word is lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import anyio.to_thread
from sqlmodel import func, select

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.events.tables import EventRow
from shoal_hub.operators.roles import Principal
from shoal_hub.operators.sessions import is_still_in

LOOK_S: Final = 2.0
"""A wake may be lost: this often the watch looks for new events in the database by itself."""
KEEP_ALIVE_LOOKS: Final = 7
_BURST_S: Final = 0.1


async def watch(hub: HubContext, reader: Principal) -> AsyncIterator[frozenset[str]]:
    """Yield what has changed as it changes; an empty set at first, and now and then while all is quiet.

    It ends with the reader's token or session, as each request of theirs would.
    """
    async with hub.changes.subscribe() as subscription:
        latest, quiet_looks = await _latest_event(hub, reader), 0
        yield frozenset()
        while True:
            what = await subscription.take(LOOK_S)
            newest = await _latest_event(hub, reader)
            if newest is None:
                return
            if newest != latest:
                what |= {"events"}
            latest = newest
            quiet_looks = 0 if what else quiet_looks + 1
            if what or quiet_looks % KEEP_ALIVE_LOOKS == 0:
                yield what
            if what:
                await asyncio.sleep(_BURST_S)  # a burst of commits becomes one message


async def _latest_event(hub: HubContext, reader: Principal) -> int | None:
    """Return the newest event's number; None for a reader who is let in no more."""

    def look() -> int | None:
        with hub.database.session() as session:
            if not is_still_in(session, hub.settings, reader, utc_now()):
                return None
            return session.exec(select(func.max(EventRow.id))).one() or 0

    return await anyio.to_thread.run_sync(look)
