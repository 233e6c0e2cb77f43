"""Asks neighbours over mutual TLS, on connections that stay open; each answer is taken whole or not at all."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import anyio
import h11
from anyio.streams.tls import TLSStream

from shoal_agent.endpoint.message import Piece
from shoal_agent.errors import AgentError, SiteError
from shoal_agent.settings import HandoverSettings
from shoal_agent.site.exchange import receive, send
from shoal_contract.desired import HandoverPeer

FAILURES: Final = (
    OSError,
    ValueError,
    AgentError,
    h11.ProtocolError,
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)
"""How a neighbour fails that is away, slow, somebody else or wrong."""
Context = Callable[[HandoverPeer], ssl.SSLContext]
Headers = list[tuple[bytes, bytes]]


class Given(NamedTuple):
    """What a neighbour answered."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


@dataclass
class _Line:
    """An open connection."""

    stream: TLSStream
    talk: h11.Connection
    used_at_s: float


@dataclass
class PeerClient:
    """Speaks to one neighbour.

    Attributes:
        peer: Who and where it is.
        context: Makes the TLS of a new connection.
        settings: Bounds.
    """

    peer: HandoverPeer
    context: Context
    settings: HandoverSettings
    _idle: list[_Line] = field(default_factory=list, init=False)

    async def ask(self, path: str, headers: Headers, body: Piece) -> Given:
        """Send one request and return its answer; one that meets a connection's end is sent once more, on a new one.

        Raises:
            Exception: One of `FAILURES`; a TimeoutError, which is an OSError, where connecting takes too long.
        """
        line = self._take_idle()
        if line is not None:
            try:
                return await self._ask_on(line, path, headers, body)
            except (h11.RemoteProtocolError, anyio.EndOfStream, anyio.BrokenResourceError, _HungUpError):
                pass  # it has ended what was idle, as servers do
        return await self._ask_on(await self._connect(), path, headers, body)

    async def aclose(self) -> None:
        """Hang up."""
        idle, self._idle = self._idle, []
        for line in idle:
            await anyio.aclose_forcefully(line.stream)

    async def _ask_on(self, line: _Line, path: str, headers: Headers, body: Piece) -> Given:
        try:
            request = h11.Request(method="POST", target=path, headers=headers)
            await send(line.talk, line.stream, request, h11.Data(data=bytes(body)), h11.EndOfMessage())
            given = await self._read(line)
        except BaseException:
            await anyio.aclose_forcefully(line.stream)
            raise
        await self._keep(line)
        return given

    async def _read(self, line: _Line) -> Given:
        response = await receive(line.talk, line.stream)
        if isinstance(response, h11.ConnectionClosed):
            raise _HungUpError("it hung up")
        if not isinstance(response, h11.Response):
            raise SiteError(f"an answer was expected, {type(response).__name__} found")
        body = bytearray()
        while not isinstance(event := await receive(line.talk, line.stream), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise SiteError("it hung up in the middle of its answer")
            body += event.data
            if len(body) > self.settings.max_answer_bytes:
                raise SiteError(f"its answer has more than {self.settings.max_answer_bytes} bytes")
        return Given(response.status_code, dict(response.headers), bytes(body))

    async def _keep(self, line: _Line) -> None:
        """Keep a connection for the next request, if it can carry one."""
        if line.talk.our_state is h11.DONE and line.talk.their_state is h11.DONE:
            line.talk.start_next_cycle()
            line.used_at_s = anyio.current_time()
            self._idle.append(line)
        else:
            await anyio.aclose_forcefully(line.stream)

    def _take_idle(self) -> _Line | None:
        """Return the connection that was used last, unless it has been idle for so long that it may have ended."""
        if not self._idle:
            return None
        line = self._idle.pop()
        return line if anyio.current_time() - line.used_at_s < self.settings.idle_s else None

    async def _connect(self) -> _Line:
        with anyio.fail_after(self.settings.connect_s):
            raw = await anyio.connect_tcp(self.peer.host, self.peer.port)
            try:
                stream = await TLSStream.wrap(
                    raw, server_side=False, ssl_context=self.context(self.peer), standard_compatible=False
                )
            except BaseException:
                await anyio.aclose_forcefully(raw)
                raise
        return _Line(stream, h11.Connection(h11.CLIENT), anyio.current_time())


class _HungUpError(SiteError):
    """The neighbour has ended the connection before it answered."""
