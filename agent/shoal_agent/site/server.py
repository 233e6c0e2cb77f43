"""The cache's side: serves chunks of what lies whole and verified in the blob store, to the site's members alone.

Everybody on the LAN may connect, so connections, handshakes, heads, times and bytes are bounded. Who may ask is looked
up at each request: a member that is taken out of the signed desired state gets nothing more.
"""

import os
from logging import getLogger
from typing import BinaryIO

import anyio
import h11
from anyio import to_thread
from anyio.abc import Listener, SocketAttribute, SocketStream, TaskGroup, TaskStatus
from anyio.streams.tls import TLSAttribute, TLSStream

from shoal_agent.blobs import BlobStore
from shoal_agent.clock import Clock
from shoal_agent.errors import AgentError, SiteError
from shoal_agent.identity import Identity
from shoal_agent.settings import SiteSettings
from shoal_agent.site.exchange import Count, Part, parse_path, passage_of, receive, send
from shoal_agent.site.pace import Pace
from shoal_agent.site.peers import device_of, listening_context
from shoal_contract.desired import DesiredSite

_log = getLogger(__name__)
_OK, _FORBIDDEN, _NOT_FOUND = 200, 403, 404
_ACCEPT_AGAIN_S = 0.1
_PIECE_BYTES = 64 * 1024
_OVER = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, h11.ProtocolError)
"""How a connection with a peer that is away, slow, unknown or wrong ends."""


class SiteServer:
    """Serves while `listen` runs.

    Args:
        identity: Who this device is.
        now: Trusted time.
        blobs: What there is to serve.
        settings: Where it listens, and its bounds.
        count: Told of what went out.
    """

    def __init__(
        self,
        identity: Identity,
        now: Clock,
        blobs: BlobStore,
        settings: SiteSettings,
        count: Count = lambda _: None,
    ) -> None:
        self._identity = identity
        self._now = now
        self._blobs = blobs
        self._settings = settings
        self._count = count
        self.site: DesiredSite | None = None
        """The site of which this device is the cache; nobody is served without one."""
        self.port = 0
        self._connections = 0
        self._handshakes = Pace(settings.handshakes_per_s)
        self._bytes = Pace(settings.max_bytes_per_s)
        self._listening: tuple[anyio.CancelScope, anyio.Event] | None = None

    @property
    def is_listening(self) -> bool:
        """Whether the address is open."""
        return self._listening is not None

    async def listen(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop`: `await group.start(server.listen)`.

        Raises:
            SiteError: The address can not be opened.
        """
        host, port = self._settings.host, self._settings.port
        try:
            listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
        except (OSError, ValueError) as error:
            message = f"opening the site's cache: {host} port {port} cannot be bound ({error})"
            raise SiteError(message, "choose a free port and an address of this device, restart the agent") from error
        scope, ended = anyio.CancelScope(), anyio.Event()
        self._listening = scope, ended
        try:
            with scope:
                async with listener, anyio.create_task_group() as group:
                    self.port = listener.extra_attributes[SocketAttribute.local_port]()
                    for one in listener.listeners:
                        group.start_soon(self._accept, one, group)
                    _log.info("serving artifacts to the site on %s port %d", host, self.port)
                    task_status.started()
        finally:
            self._listening = None
            ended.set()

    async def stop(self) -> None:
        """Close the address and every connection."""
        if self._listening is not None:
            scope, ended = self._listening
            scope.cancel()
            await ended.wait()

    async def _accept(self, listener: Listener[SocketStream], group: TaskGroup) -> None:
        while True:
            try:
                await listener.serve(self._welcome, group)
            except OSError as error:  # no file descriptor is left, or who came has gone already
                _log.error("accepting a connection to the site's cache: %s", error)
                await anyio.sleep(_ACCEPT_AGAIN_S)

    async def _welcome(self, stream: SocketStream) -> None:
        """Serve one connection; nothing that a peer does comes further than this."""
        if self._connections >= self._settings.max_connections:
            await anyio.aclose_forcefully(stream)
            return
        self._connections += 1
        try:
            await self._serve(stream)
        except _OVER as error:
            _log.debug("a connection to the site's cache ended: %r", error)
        except Exception:  # noqa: BLE001 - logged with its traceback; the agent goes on
            _log.exception("serving the site: a defect of the agent")
        finally:
            self._connections -= 1
            await anyio.aclose_forcefully(stream)

    async def _serve(self, raw: SocketStream) -> None:
        await self._handshakes.take()
        with anyio.fail_after(self._settings.handshake_s):
            context = listening_context(self._identity)
            stream = await TLSStream.wrap(raw, server_side=True, ssl_context=context, standard_compatible=False)
        certificate = stream.extra_attributes[TLSAttribute.peer_certificate_binary]()
        device_id = device_of(certificate, self._identity.ca_path.read_bytes(), self._now())
        most_bytes = self._settings.max_head_bytes
        talk = h11.Connection(h11.SERVER, max_incomplete_event_size=most_bytes)
        while True:
            with anyio.fail_after(self._settings.idle_s):
                request = await receive(talk, stream, most_bytes)
                if not isinstance(request, h11.Request):
                    return
                if not isinstance(await receive(talk, stream, most_bytes), h11.EndOfMessage):
                    return  # nobody who asks for a chunk has a body to send
            status = await self._answer(talk, stream, device_id, request)
            if status != _OK or talk.our_state is h11.MUST_CLOSE:
                return
            talk.start_next_cycle()

    async def _answer(self, talk: h11.Connection, stream: TLSStream, device_id: str, request: h11.Request) -> int:
        """Answer one request; return the status."""
        if self.site is None or device_id not in self.site.members:
            _log.warning("device %s asked the site's cache, and is no member of the site", device_id)
            await self._refuse(talk, stream, _FORBIDDEN)
            return _FORBIDDEN
        part = parse_path(request.target) if request.method == b"GET" else None
        file = None if part is None else await to_thread.run_sync(self._open, part)
        if part is None or file is None:
            await self._refuse(talk, stream, _NOT_FOUND)
            return _NOT_FOUND
        with file, anyio.fail_after(self._settings.answer_s):
            await self._send(talk, stream, file, part)
        return _OK

    def _open(self, part: Part) -> BinaryIO | None:
        """Open what is there whole, at a chunk that it has; the first one of an artifact hashes all of it once."""
        if not self._blobs.has(part.sha256):  # the one place where a cache could fetch what a member asks for
            return None
        try:
            self._blobs.check(part.sha256)
            file = self._blobs.path(part.sha256).open("rb")
        except (AgentError, OSError) as error:  # damaged, or deleted just now: the broker has it
            _log.warning("serving the site %s: %s", part.path, error)
            return None
        if _size_of(file, part) <= 0:
            file.close()
            return None
        file.seek(part.index * part.chunk_bytes)
        return file

    async def _send(self, talk: h11.Connection, stream: TLSStream, file: BinaryIO, part: Part) -> None:
        """Send a chunk in pieces, so that a slow reader holds one of them in memory."""
        left_bytes = _size_of(file, part)
        headers = [("Content-Length", str(left_bytes)), ("Content-Type", "application/octet-stream")]
        await send(talk, stream, h11.Response(status_code=_OK, headers=headers))
        while left_bytes:
            piece = await to_thread.run_sync(file.read, min(left_bytes, _PIECE_BYTES))
            if not piece:
                raise OSError(f"reading {part.path}: the file has become shorter")
            left_bytes -= len(piece)
            await self._bytes.take(len(piece))
            await send(talk, stream, h11.Data(data=piece))
        await send(talk, stream, h11.EndOfMessage())
        self._count(passage_of(_size_of(file, part)).sent())

    async def _refuse(self, talk: h11.Connection, stream: TLSStream, status: int) -> None:
        response = h11.Response(status_code=status, headers=[("Content-Length", "0"), ("Connection", "close")])
        with anyio.fail_after(self._settings.answer_s):
            await send(talk, stream, response, h11.EndOfMessage())


def _size_of(file: BinaryIO, part: Part) -> int:
    """Return the bytes of a chunk; none or less where the file has no such chunk."""
    return min(part.chunk_bytes, os.fstat(file.fileno()).st_size - part.index * part.chunk_bytes)
