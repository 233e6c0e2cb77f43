"""A Unix-domain socket of several workers: the parent accepts, and hands connections to them in turn.

Ports are shared by the kernel; a path is bound by one process. A listening socket that all inherit would give most
connections to whoever wakes first.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from typing import Final

import anyio

from shoal_agent.endpoint.listener import bind_path
from shoal_agent.standalone.child import Child

_BACKLOG: Final = 1024
_PAUSE_S: Final = 1.0
"""After the system had no room for one more connection."""
_log = getLogger(__name__)


class SharedSocket:
    """Accepts at a path.

    Args:
        path: Where; what a killed server left behind is replaced, and one that is alive is left alone.
        serving: Gives the workers that serve.

    Raises:
        EndpointError: It can not be bound.
    """

    def __init__(self, path: Path, serving: Callable[[], Sequence[Child]]) -> None:
        self._serving = serving
        self._place = bind_path(path)
        self._bound = self._place.bound
        self._bound.setblocking(False)  # noqa: FBT003 - as the socket has it
        self._turn = 0

    async def accept(self) -> None:
        """Take connections until cancelled; one for which no worker is there is closed."""
        loop = asyncio.get_running_loop()
        self._bound.listen(_BACKLOG)
        while True:
            try:
                connection, _ = await loop.sock_accept(self._bound)
            except OSError as error:
                _log.warning("accepting a connection: %s; trying again in %g s", error, _PAUSE_S)
                await anyio.sleep(_PAUSE_S)
                continue
            with connection:
                self._hand_over(connection)

    def close(self) -> None:
        """Listen no more, take the path away, and hand over who has connected already; not while `accept` runs."""
        self._place.unlink()
        with suppress(OSError):  # nobody is left, or nobody was listened for
            while True:
                connection, _ = self._bound.accept()
                with connection:
                    self._hand_over(connection)
        self._bound.close()

    def _hand_over(self, connection: socket.socket) -> None:
        """Give a connection to the worker whose turn it is, or to the next one that takes it."""
        workers = sorted(self._serving(), key=lambda one: one.plan.number)
        after = [one for one in workers if one.plan.number > self._turn]
        for child in (*after, *workers):
            if child.hand_over(connection):
                self._turn = child.plan.number
                return
        _log.warning("a connection to %s is closed: no worker takes it", self._place.path)
