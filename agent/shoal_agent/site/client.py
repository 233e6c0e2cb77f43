"""A neighbour's side: asks the site's cache for chunks before the broker, and loses no more than a bounded time by it.

Every chunk is checked as soon as it comes. A cache that lacks an artifact is let be for that artifact for a while; one
that is away, slow, somebody else or wrong is let be altogether for longer, and the hub reads why.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from logging import getLogger
from typing import Final

import anyio
import h11
from anyio import to_thread
from anyio.streams.tls import TLSStream

from shoal_agent.clock import Clock
from shoal_agent.errors import AgentError, SiteError
from shoal_agent.fetch import AskNearby
from shoal_agent.identity import Identity
from shoal_agent.settings import SiteSettings
from shoal_agent.site.exchange import Count, Part, passage_of, receive, send
from shoal_agent.site.peers import asking_context
from shoal_contract.desired import DesiredSite
from shoal_contract.errors import ContractError
from shoal_contract.transfer import TransferManifest

_log = getLogger(__name__)
_OK, _FORBIDDEN, _NOT_FOUND = 200, 403, 404
_LACKING: Final = 256
"""Artifacts that are remembered as not there; beyond it they are asked for again."""
_FAILURES = (
    OSError,
    ValueError,
    AgentError,
    ContractError,
    h11.ProtocolError,
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)


class SiteClient:
    """Asks the cache of the site that `follow` was told of.

    Args:
        identity: Who this device is.
        now: Trusted time.
        settings: Bounds.
        tell: Told of a problem with the cache, and with None that it serves again.
        count: Told of what came.
    """

    def __init__(
        self,
        identity: Identity,
        now: Clock,
        settings: SiteSettings,
        tell: Callable[[SiteError | None], None],
        count: Count = lambda _: None,
    ) -> None:
        self.identity = identity
        self.now = now
        self.settings = settings
        self.site: DesiredSite | None = None
        self._tell = tell
        self.count = count
        self._is_resting = False
        self._rests_until_s = 0.0
        self._lacks_until_s: dict[str, float] = {}

    def follow(self, site: DesiredSite | None) -> None:
        """Ask this site's cache from now on; what is known of another one counts no more."""
        if site != self.site:
            self.site, self._is_resting, self._rests_until_s = site, False, 0.0
            self._lacks_until_s.clear()

    @asynccontextmanager
    async def visit(self, manifest: TransferManifest) -> AsyncIterator[AskNearby]:
        """Ask for chunks of one artifact, on one connection, until the block ends."""
        visit = _Visit(self, manifest)
        try:
            yield visit.ask
        finally:
            await visit.leave()

    def is_worth_asking(self, sha256: str) -> bool:
        """Whether there is a cache that does not rest, and may have the artifact."""
        now_s = time.monotonic()
        return self.site is not None and now_s >= self._rests_until_s and now_s >= self._lacks_until_s.get(sha256, 0.0)

    def lacks(self, sha256: str) -> None:
        """Note that the cache has no such artifact now."""
        if len(self._lacks_until_s) >= _LACKING:
            self._lacks_until_s.clear()
        self._lacks_until_s[sha256] = time.monotonic() + self.settings.lacking_s

    def failed(self, site: DesiredSite, doing: str, error: Exception) -> None:
        """Let the cache rest, and say why."""
        reason = "it was too slow" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        message = f"{doing} from the cache of site {site.name}, {site.cache} at {site.host} port {site.port}: {reason}"
        remedy = (
            f"look at the cache's log; devices fetch from the broker, and ask it again in {self.settings.rest_s:g} s"
        )
        problem = SiteError(message, remedy)
        _log.warning("%s; %s", problem, remedy)
        if site == self.site:
            self._is_resting, self._rests_until_s = True, time.monotonic() + self.settings.rest_s
            self._tell(problem)

    def served(self) -> None:
        """Note that the cache does what it is there for."""
        if self._is_resting:
            self._is_resting = False
            self._tell(None)


class _Visit:
    """One artifact's chunks from the cache, one after the other."""

    def __init__(self, client: SiteClient, manifest: TransferManifest) -> None:
        self._client = client
        self._manifest = manifest
        self._lock = anyio.Lock()
        self._stream: TLSStream | None = None
        self._talk = h11.Connection(h11.CLIENT)
        self._with: DesiredSite | None = None
        self._bytes = 0
        self._spent_s = 0.0

    async def ask(self, index: int) -> bytes | None:
        """Return a chunk with the listed hash, or None: at once, or after a bounded time."""
        client, sha256 = self._client, self._manifest.sha256
        if not client.is_worth_asking(sha256):
            return None
        async with self._lock:
            site = client.site  # who waited here does not find out again what the one before has
            if site is None or not client.is_worth_asking(sha256):
                return None
            started_s = time.monotonic()
            try:
                with anyio.fail_after(self._most_s(index)):
                    data = await self._get(site, index)
                if data is None:
                    client.lacks(sha256)
                    await self._hang_up()
                    return None
                await to_thread.run_sync(self._manifest.check_chunk, index, data)
            except _FAILURES as error:
                await self._hang_up()
                client.failed(site, f"fetching chunk {index} of {sha256[:12]}", error)
                return None
            finally:
                self._spent_s += time.monotonic() - started_s
            client.served()
            self._bytes += len(data)
            return data

    async def leave(self) -> None:
        """End the visit."""
        await self._hang_up()
        if self._bytes:
            size_bytes, sha256 = self._manifest.size_bytes, self._manifest.sha256
            _log.info("%d of %d bytes of %s came from the site's cache", self._bytes, size_bytes, sha256)

    def _most_s(self, index: int) -> float:
        """Return how long the cache may take for a chunk: not long, and not always a little less than that either."""
        settings, due_bytes = self._client.settings, self._bytes + self._manifest.size_of(index)
        left_s = settings.chunk_s + due_bytes / settings.min_bytes_per_s - self._spent_s
        return max(0.0, min(settings.chunk_s, left_s))

    async def _get(self, site: DesiredSite, index: int) -> bytes | None:
        stream = await self._connected(site)
        part = Part(self._manifest.sha256, self._manifest.chunk_bytes, index)
        request = h11.Request(method="GET", target=part.path, headers=[("Host", site.name)])
        await send(self._talk, stream, request, h11.EndOfMessage())
        response = await receive(self._talk, stream)
        if not isinstance(response, h11.Response):
            raise SiteError(f"an answer was expected, {type(response).__name__} found")
        if response.status_code == _NOT_FOUND:
            return None
        if response.status_code == _FORBIDDEN:
            raise SiteError("it does not know this device as a member of the site")
        if response.status_code != _OK:
            raise SiteError(f"it answered with the status {response.status_code}")
        data = await self._body(stream, self._manifest.size_of(index))
        self._client.count(passage_of(len(data)).received())
        self._talk.start_next_cycle()
        return data

    async def _body(self, stream: TLSStream, size_bytes: int) -> bytes:
        body = bytearray()
        while not isinstance(event := await receive(self._talk, stream), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise SiteError("it hung up in the middle of its answer")
            body += event.data
            if len(body) > size_bytes:
                raise SiteError(f"it sends more than the {size_bytes} bytes of the chunk")
        return bytes(body)

    async def _connected(self, site: DesiredSite) -> TLSStream:
        if self._stream is not None and self._with == site:
            return self._stream
        await self._hang_up()
        client = self._client
        with anyio.fail_after(client.settings.connect_s):
            raw = await anyio.connect_tcp(site.host, site.port)
            try:
                context = asking_context(client.identity, client.now, site.cache)
                self._stream = await TLSStream.wrap(
                    raw, server_side=False, ssl_context=context, standard_compatible=False
                )
            except BaseException:
                await anyio.aclose_forcefully(raw)
                raise
        self._talk, self._with = h11.Connection(h11.CLIENT), site
        return self._stream

    async def _hang_up(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await anyio.aclose_forcefully(stream)
