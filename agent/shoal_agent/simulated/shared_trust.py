"""One verified view of the hub's TUF metadata for all simulated devices of a process.

The metadata says the same to every device, so it is fetched, verified and kept once. Each device still follows the
retained topics that tell of a change, and checks its own desired state's signature by the directors found here.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from shoal_agent.blobs import BlobStore
from shoal_agent.clock import Clock
from shoal_agent.errors import LinkError
from shoal_agent.fetch import Fetcher
from shoal_agent.identity import Identity
from shoal_agent.link import Link
from shoal_agent.settings import AgentSettings
from shoal_agent.trust import Keys
from shoal_agent.tuf.refresher import Refresher
from shoal_contract import topics
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.reported import TrustReport

FOLLOWED: Final = (topics.TRUST_TIMESTAMP, topics.TRUST_INDEX)
"""What each device subscribes to."""
_WAITING = 8
"""Messages of a topic that may wait for the one who verifies; a later one replaces what is lost."""


class FleetTopics:
    """Reads retained topics over whichever device is connected, and passes on what devices receive."""

    def __init__(self) -> None:
        self.links: set[Link] = set()
        self._last: dict[str, bytes] = {}
        self._streams: dict[str, MemoryObjectSendStream[bytes]] = {}

    async def read_retained(self, topic: str, timeout_s: float) -> bytes:
        """Return the retained message of `topic`.

        Raises:
            FetchError: Nothing arrived within `timeout_s`.
            LinkError: No device is connected, or the one that asked no longer is.
        """
        link = next((one for one in self.links if one.is_connected), None)
        if link is None:
            raise LinkError(f"waiting for {topic}: no simulated device is connected")
        return await link.read_retained(topic, timeout_s)

    @asynccontextmanager
    async def subscription(self, topic: str) -> AsyncIterator[MemoryObjectReceiveStream[bytes]]:
        """Receive what any device receives on a topic, each content once."""
        send, receive = anyio.create_memory_object_stream[bytes](_WAITING)
        self._streams[topic] = send
        try:
            yield receive
        finally:
            del self._streams[topic]
            send.close()
            receive.close()

    def pass_on(self, topic: str, payload: bytes) -> None:
        """Take what a device has received."""
        stream = self._streams.get(topic)
        if stream is None or self._last.get(topic) == payload:
            return
        try:
            stream.send_nowait(payload)
        except anyio.WouldBlock:
            return  # not noted as the last: the next device's copy comes through
        self._last[topic] = payload


class SharedTrust:
    """What the devices of a process believe.

    Args:
        folder: Where verified metadata is kept.
        identity: Of any device: root and address are the same in all.
        blobs: Where the hub's CA certificates are fetched to.
        clock: Trusted time.
        settings: Bounds.
    """

    def __init__(
        self, folder: Path, identity: Identity, blobs: BlobStore, clock: Clock, settings: AgentSettings
    ) -> None:
        self.topics = FleetTopics()
        fetcher = Fetcher(self.topics, blobs, _ask_nobody, settings.fetch)
        self._refresher = Refresher.of(folder, identity, self.topics, fetcher, clock, settings.trust)
        self._refresher.on_change = self._tell
        self._listeners: set[Callable[[], None]] = set()
        self._listed: set[tuple[str, int, ArtifactRef]] = set()
        self._lock = anyio.Lock()

    @property
    def directors(self) -> Keys:
        """The keys of the directors whose desired states are believed."""
        return self._refresher.directors

    def listen(self, on_change: Callable[[], None]) -> None:
        """Have a device told when something else is trusted."""
        self._listeners.add(on_change)

    def leave(self, on_change: Callable[[], None]) -> None:
        """Have it told no more."""
        self._listeners.discard(on_change)

    def report(self) -> TrustReport:
        """Return what the hub should know of a device's trust."""
        return self._refresher.report()

    def request(self) -> None:
        """Refresh soon."""
        self._refresher.request()

    async def run(self) -> None:
        """Follow the hub's metadata, for ever."""
        await self._refresher.run()

    async def check_manifest(self, name: str, version: int, ref: ArtifactRef) -> None:
        """Return if the model's role lists this manifest; looked up once as long as the metadata does not change.

        Raises:
            HeldError: It does not, as far as is known.
        """
        asked = (name, version, ref)
        if asked in self._listed:
            return
        async with self._lock:
            if asked not in self._listed:
                await self._refresher.check_manifest(name, version, ref)
                self._listed.add(asked)

    def _tell(self) -> None:
        self._listed.clear()
        for listener in tuple(self._listeners):
            listener()


async def _ask_nobody(_sha256: str, _detail: str) -> None:
    """The CA certificates are asked for by real devices; here the refresh tries again, or goes over HTTPS."""
