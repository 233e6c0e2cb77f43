"""Follows a job's log while it is written, on behalf of one reader, to the end of the job."""

import codecs
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import anyio.to_thread
from sqlmodel import select

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.jobs.log import LogPart, job_folder, read_log
from shoal_hub.jobs.tables import ENDED, Job
from shoal_hub.operators.roles import Principal
from shoal_hub.operators.sessions import is_still_in

BLOCK_BYTES: Final = 64 * 1024
_LOOK_S: Final = 0.5
"""A log tells nobody that it grows: this often it is looked at, and sooner where something else has changed."""
_QUIET_LOOKS: Final = 28


class Followed(NamedTuple):
    """What a reader is told.

    Attributes:
        text: The next of the log.
        next: Where in the log that ends.
        state: Of the job, once it has ended and all has been told; empty before.
    """

    text: str
    next: int
    state: str = ""

    @property
    def is_quiet(self) -> bool:
        """Whether it only says that the hub is still there."""
        return not (self.text or self.state)


async def follow_log(hub: HubContext, reader: Principal, job_id: str, offset: int) -> AsyncIterator[Followed]:
    """Yield what a job writes as it does, and at last how it ended; now and then, while all is quiet, nothing.

    It ends with the reader's token or session too, as each request of theirs would.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    quiet_looks = 0
    async with hub.changes.subscribe() as subscription:
        while True:
            state = await anyio.to_thread.run_sync(_state_of, hub, reader, job_id)
            part = await anyio.to_thread.run_sync(_next, hub, job_id, offset)
            if part.data:
                offset = part.end
                yield Followed(decoder.decode(part.data), offset)
                continue
            if state is None:
                return
            if state in ENDED:
                yield Followed("", offset, state)
                return
            quiet_looks += 1
            if quiet_looks % _QUIET_LOOKS == 0:
                yield Followed("", offset)
            await subscription.take(_LOOK_S)


def _state_of(hub: HubContext, reader: Principal, job_id: str) -> str | None:
    """Return how a job stands; None for a reader who is let in no more, and of a job that is gone."""
    with hub.database.session() as session:
        if not is_still_in(session, hub.settings, reader, utc_now()):
            return None
        return session.exec(select(Job.state).where(Job.id == job_id)).first()


def _next(hub: HubContext, job_id: str, offset: int) -> LogPart:
    return read_log(job_folder(hub.settings, job_id), offset, BLOCK_BYTES)
