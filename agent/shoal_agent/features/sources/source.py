"""What every source offers."""

from collections.abc import Callable
from typing import Protocol

from shoal_agent.backlog import Backlog
from shoal_numerics.features.events import Arrival

Inbox = Backlog[Arrival]


class Source(Protocol):
    """Brings events, until it is cancelled or fails."""

    async def run(self, inbox: Inbox, on_ready: Callable[[], None]) -> None:
        """Put what comes into `inbox`; call `on_ready` once it can come.

        Raises:
            FeaturesError: It can not go on; it may be run again.
        """
