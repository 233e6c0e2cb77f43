"""Where connections are accepted: loopback, a Unix-domain socket, or the network with TLS and keys."""

import asyncio
import math
import os
import socket
import ssl
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskStatus

from shoal_agent.endpoint.bodies import BodyBudget
from shoal_agent.endpoint.connection import HttpConnection
from shoal_agent.endpoint.handed import take_handed
from shoal_agent.endpoint.handshakes import Handshakes
from shoal_agent.endpoint.limits import EndpointLimits
from shoal_agent.endpoint.reader import Authorize
from shoal_agent.endpoint.routes import Router
from shoal_agent.errors import AgentError

LOOPBACK: Final = ("127.0.0.1", "::1")
_BACKLOG: Final = 1024
_BUFFER_BYTES: Final = 256 * 1024
_SWEEP_S: Final = 1.0
_ABORT_S: Final = 1.0
"""How long the event loop may take to call the end of connections that were cut off."""

_log = getLogger(__name__)


class EndpointError(AgentError):
    """An endpoint could not be opened."""

    code = "serving"
    default_remedy = "choose a free port and a local address, then restart the agent"


@dataclass(frozen=True)
class Address:
    """Where to listen.

    Attributes:
        host: A loopback address, or any where `tls` is given.
        port: TCP port; 0 takes a free one.
        path: Of a Unix-domain socket, in place of host and port.
        tls: Encrypts; needed for whatever is not loopback.
        is_shared: Whether other processes of this user listen at the same port; the kernel spreads connections.
        handed: Where another process, which listens at `path`, hands connections over; None: it is listened to here.
    """

    host: str = LOOPBACK[0]
    port: int = 0
    path: Path | None = None
    tls: ssl.SSLContext | None = None
    is_shared: bool = False
    handed: socket.socket | None = None

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else f"{self.host} port {self.port}"


Identify = Callable[[asyncio.BaseTransport], Authorize]
"""Given a connection; returns what decides on its requests."""


def allow_everyone(_headers: dict[bytes, bytes]) -> None:
    """Take requests from whoever reaches the endpoint."""


class Listener:
    """Accepts the connections of one address.

    Args:
        router: Answers.
        limits: Bounds.
        authorize: Decides by a request's headers who may ask.
        budget: Memory for bodies; shared by the listeners of a process.
        identify: Decides, once for each connection, by its TLS, in place of `authorize`.
    """

    def __init__(
        self,
        router: Router,
        limits: EndpointLimits = EndpointLimits(),  # noqa: B008 - frozen
        authorize: Authorize = allow_everyone,
        budget: BodyBudget | None = None,
        identify: Identify | None = None,
    ) -> None:
        self.router = router
        self.limits = limits
        self.authorize = authorize
        self._identify = identify
        self.budget = budget or BodyBudget(limits.max_bodies_bytes)
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._connections: set[HttpConnection] = set()
        self._none_left = asyncio.Event()
        self._sweep: asyncio.TimerHandle | None = None

    async def serve(self, address: Address, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
        """Accept connections until cancelled; then let requests in flight end.

        Args:
            address: Where to listen.
            task_status: Receives the bound port once connections are accepted; 0 for a Unix-domain socket.

        Raises:
            EndpointError: It cannot be bound, or others could reach it without TLS.
        """
        if address.handed is not None:
            await self._take_handed(address.handed, task_status)
            return
        place = None if address.path is None else bind_path(address.path)
        bound = _bind(address) if place is None else place.bound
        port = 0 if address.path is not None else int(bound.getsockname()[1])
        try:
            await self._accept(bound, address.tls, place, lambda: task_status.started(port))
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop()

    async def _take_handed(self, channel: socket.socket, task_status: TaskStatus[int]) -> None:
        try:
            with channel:
                task_status.started(0)
                await take_handed(channel, lambda: HttpConnection(self))
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop()

    async def _accept(
        self,
        bound: socket.socket,
        tls: ssl.SSLContext | None,
        place: "BoundPath | None",
        on_ready: Callable[[], None],
    ) -> None:
        """Take connections until cancelled; then none comes any more."""
        if tls is not None:
            timeout_s = self.limits.read_timeout_s
            handshakes = Handshakes(tls, lambda: HttpConnection(self), self._has_room, timeout_s)
            with bound:
                on_ready()
                await handshakes.take(bound)
        loop = asyncio.get_running_loop()
        make = loop.create_server if place is None else loop.create_unix_server
        server = await make(lambda: HttpConnection(self), sock=bound, backlog=_BACKLOG)
        try:
            on_ready()
            await anyio.sleep_forever()
        finally:
            if place is not None:
                place.unlink()
            server.close()

    def take(self, connection: HttpConnection) -> bool:
        """Count a connection in; return whether there is room, if need be that of one that is idle."""
        has_room = self._has_room()
        self._connections.add(connection)
        if self._sweep is None:
            self._plan_sweep()
        return has_room

    def _has_room(self, handshakes: int = 0) -> bool:
        """Whether there is room for one more beside those that shake hands, if need be that of one that is idle."""
        if len(self._connections) + handshakes < self.limits.max_connections:
            return True
        idle = self._dispensable()
        if idle is None:
            return False
        idle.abort()
        self._connections.discard(idle)  # its end is told a turn of the event loop later
        return True

    def _dispensable(self) -> HttpConnection | None:
        """Return the connection that is missed least: one that never asked anything, or that rests longest."""
        limits = self.limits
        rests_since_s = asyncio.get_running_loop().time() + limits.idle_timeout_s - limits.spared_idle_s
        idle = (
            one for one in self._connections if one.is_idle and not (one.has_asked and one.deadline_s > rests_since_s)
        )
        return min(idle, key=lambda one: (one.has_asked, one.deadline_s), default=None)

    def authorize_of(self, transport: asyncio.BaseTransport) -> Authorize:
        """Return what decides who may ask on a connection."""
        return self.authorize if self._identify is None else self._identify(transport)

    def drop(self, connection: HttpConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        if not self._connections:
            self._none_left.set()

    def _plan_sweep(self) -> None:
        limits = self.limits
        pause_s = min(_SWEEP_S, limits.read_timeout_s / 2, limits.write_timeout_s / 2, limits.linger_s / 2)
        self._sweep = asyncio.get_running_loop().call_later(pause_s, self._expire)

    def _expire(self) -> None:
        """Have each connection whose deadline has come do what is due; rest while there are none."""
        self._sweep = None
        now_s = asyncio.get_running_loop().time()
        for connection in [one for one in self._connections if one.deadline_s <= now_s]:
            connection.deadline_s = math.inf
            connection.expire()
        if self._connections:
            self._plan_sweep()

    async def _stop(self) -> None:
        self._none_left = asyncio.Event()
        for connection in list(self._connections):
            connection.stop()
        await self._wait_for_ends(self.limits.shutdown_s)
        for connection in list(self._connections):
            connection.abort()
        await self._wait_for_ends(_ABORT_S)
        if self._sweep is not None:
            self._sweep.cancel()

    async def _wait_for_ends(self, most_s: float) -> None:
        if self._connections:
            with anyio.move_on_after(most_s):
                await self._none_left.wait()


def _bind(address: Address) -> socket.socket:
    if address.host not in LOOPBACK and address.tls is None:
        message = (
            f"opening the local endpoint: host {address.host!r} found, expected one of {', '.join(LOOPBACK)}, "
            "because it asks nobody for a key and encrypts nothing"
        )
        raise EndpointError(message, "use a loopback address, or open a remote endpoint with TLS and a key")
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        where = (address.host, address.port)
        bound = socket.create_server(where, family=family, backlog=_BACKLOG, reuse_port=address.is_shared)
    except OSError as error:
        raise EndpointError(f"opening the local endpoint: {address} cannot be bound ({error.strerror})") from error
    # Inherited by accepted sockets. Without it an answer in two pieces waits 40 ms for a delayed acknowledgement.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


@dataclass(frozen=True)
class BoundPath:
    """A Unix-domain socket at its path.

    Attributes:
        bound: The socket.
        path: Where.
        identity: Device and inode of the path; no other gets that inode before the socket is closed.
    """

    bound: socket.socket
    path: Path
    identity: tuple[int, int]

    def unlink(self) -> None:
        """Take the path away, unless it is another socket's by now, or this one is closed."""
        with suppress(OSError):
            if self.bound.fileno() >= 0 and self.identity == _identity(self.path):
                self.path.unlink()


def bind_path(path: Path) -> BoundPath:
    """Bind a Unix-domain socket that its owner and group may use; what a killed agent left behind is replaced.

    Raises:
        EndpointError: It can not be bound, or another process listens there.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        old_mask = os.umask(0o117)
        try:
            bound.bind(str(path))
        finally:
            os.umask(old_mask)
        return BoundPath(bound, path, _identity(path))
    except EndpointError:
        bound.close()
        raise
    except OSError as error:
        bound.close()
        message = f"opening the local endpoint: {path} cannot be bound ({error.strerror or error})"
        raise EndpointError(message, "choose a path of at most 107 characters in a folder of the agent's") from error


def _remove_left(path: Path) -> None:
    """Take a socket away at which nobody listens any more."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)  # noqa: FBT003 - as the socket has it
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # somebody listens, and has no room at the moment
            pass
    message = f"opening the local endpoint: another process listens at {path}"
    raise EndpointError(message, "stop that process, or choose another path")


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
