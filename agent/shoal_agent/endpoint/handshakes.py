"""TLS handshakes of connections that come: as many at a time as there may be connections; the oldest gives way."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from logging import getLogger
from typing import Final

import anyio

_log = getLogger(__name__)
_PAUSE_S: Final = 1.0
"""After the system had no room for one more connection."""


@dataclass(eq=False)
class Handshakes:
    """Takes connections of a bound socket and hands them over once they are encrypted.

    Attributes:
        tls: The device's side.
        make: Returns the protocol of a new connection.
        has_room: Given how many are under way, says whether one more has room; one has, whatever it says.
        timeout_s: Of each.
    """

    tls: ssl.SSLContext
    make: Callable[[], asyncio.BaseProtocol]
    has_room: Callable[[int], bool]
    timeout_s: float
    _under_way: dict[socket.socket, anyio.CancelScope] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._under_way)

    async def take(self, bound: socket.socket) -> None:
        """Take connections until cancelled; those that are under way end with it."""
        bound.setblocking(False)  # noqa: FBT003 - as the socket has it
        loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as group:
            while True:
                try:
                    accepted, _ = await loop.sock_accept(bound)
                except OSError as error:
                    _log.warning("accepting a connection: %s; trying again in %g s", error, _PAUSE_S)
                    await anyio.sleep(_PAUSE_S)
                    continue
                while self._under_way and not self.has_room(len(self._under_way)):
                    self._under_way.pop(next(iter(self._under_way))).cancel()
                scope = self._under_way[accepted] = anyio.CancelScope()
                group.start_soon(self._shake, accepted, scope)

    async def _shake(self, accepted: socket.socket, scope: anyio.CancelScope) -> None:
        loop = asyncio.get_running_loop()
        try:
            with scope:
                await loop.connect_accepted_socket(
                    self.make, accepted, ssl=self.tls, ssl_handshake_timeout=self.timeout_s
                )
        except OSError as error:  # also what TLS refuses, or takes too long
            _log.debug("a TLS handshake failed: %s", error)
        finally:
            self._under_way.pop(accepted, None)
