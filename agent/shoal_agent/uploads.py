"""Blobs on their way to the hub: offered through the outbox, sent on a credit, dropped when the hub has stored them."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import BinaryIO

import anyio
from anyio import to_thread

from shoal_agent.durable import replace_file
from shoal_agent.errors import AgentError, DiskError, LinkError
from shoal_agent.link import Link
from shoal_agent.outbox import Outbox
from shoal_contract import topics
from shoal_contract.ack import BlobAnswer
from shoal_contract.ledger import ByteCategory
from shoal_contract.limits import DEFAULT_CHUNK_BYTES
from shoal_contract.telemetry import BlobOffer

_log = getLogger(__name__)
Offer = Callable[[BlobOffer], None]


@dataclass(frozen=True)
class Elsewhere:
    """A blob whose bytes are no file of the uploads: what is encrypted at rest stays so while it waits.

    Attributes:
        read: Returns its bytes; called in a worker thread. Raises an AgentError.
        settled: Called with the hub's last word, in the event loop.
        category: Under which its bytes count in the ledger.
    """

    read: Callable[[], bytes]
    settled: Callable[[BlobAnswer], None]
    category: ByteCategory


class Uploads:
    """The folder `<data>/uploads`, one file a blob, and the sender of their chunks."""

    def __init__(self, folder: Path, outbox: Outbox, offer: Offer) -> None:
        self._folder = folder
        self._outbox = outbox
        self._offer = offer
        self._credits: dict[str, BlobAnswer] = {}  # the latest for each blob
        self._credited = anyio.Event()
        self._elsewhere: dict[str, Elsewhere] = {}

    def category(self, sha256: str) -> ByteCategory:
        """Return under which category a blob's bytes count; any thread may call."""
        elsewhere = self._elsewhere.get(sha256)
        return "federated" if elsewhere is None else elsewhere.category

    def offer_elsewhere(self, offer: BlobOffer, elsewhere: Elsewhere) -> None:
        """Offer a blob whose bytes lie elsewhere; whoever offers it does so again after a restart.

        Raises:
            DiskError: The disk does not take the offer.
        """
        self._elsewhere[offer.sha256] = elsewhere
        self._offer(offer)

    def add(self, data: bytes) -> str:
        """Keep a blob until the hub has it, and offer it; return its hash. May be called from any thread.

        Raises:
            DiskError: The disk does not take it.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            replace_file(self._folder / sha256, data)
        except OSError as error:
            raise DiskError(f"keeping upload {sha256[:12]}: {error}", "free some disk space") from error
        self._outbox.add_upload(sha256, len(data))
        self._offer_blob(sha256, len(data))
        return sha256

    def offer_again(self) -> None:
        """Offer everything that the hub does not have yet; called at each start. On a full disk the next one does."""
        try:
            for sha256, size_bytes in self._outbox.uploads().items():
                if (self._folder / sha256).exists():
                    self._offer_blob(sha256, size_bytes)
                else:
                    _log.error("upload %s: its file is gone from %s; it can not be sent", sha256[:12], self._folder)
                    self._outbox.drop_upload(sha256)
        except DiskError as error:
            _log.error("offering uploads again: %s; %s", error, error.remedy)

    def answer(self, sha256: str, answer: BlobAnswer) -> None:
        """Take the hub's word on one blob."""
        if answer.state == "credit":
            if sha256 in self._elsewhere or (self._folder / sha256).exists():
                self._credits[sha256] = answer
                self._credited.set()
            return
        if answer.state == "refused":
            _log.error("upload %s: the hub refused it: %s", sha256[:12], answer.reason)
        self._credits.pop(sha256, None)
        if (elsewhere := self._elsewhere.pop(sha256, None)) is not None:
            elsewhere.settled(answer)
            return
        self._outbox.drop_upload(sha256)
        (self._folder / sha256).unlink(missing_ok=True)

    async def send(self, link: Link, device_id: str) -> None:
        """Send the chunks that the hub gives credit for, for ever."""
        while True:
            while not self._credits:
                self._credited = anyio.Event()
                await self._credited.wait()
            sha256 = next(iter(self._credits))
            await self._send_blob(link, device_id, sha256, self._credits.pop(sha256).missing)

    async def _send_blob(self, link: Link, device_id: str, sha256: str, missing: tuple[int, ...]) -> None:
        elsewhere, path = self._elsewhere.get(sha256), self._folder / sha256
        try:
            if elsewhere is None:
                with path.open("rb") as file:
                    await self._send_chunks(link, device_id, sha256, file, missing)
            else:
                data = io.BytesIO(await to_thread.run_sync(elsewhere.read))
                await self._send_chunks(link, device_id, sha256, data, missing)
        except LinkError as error:
            _log.info("upload %s: %s; the hub asks again for what is missing", sha256[:12], error)
        except AgentError as error:
            _log.error("upload %s: %s; %s", sha256[:12], error, error.remedy)
        except OSError as error:
            _log.error("upload %s: reading %s: %s; check the data folder's disk", sha256[:12], path, error)

    async def _send_chunks(
        self, link: Link, device_id: str, sha256: str, file: BinaryIO, missing: tuple[int, ...]
    ) -> None:
        for index in missing:
            file.seek(index * DEFAULT_CHUNK_BYTES)
            chunk = file.read(DEFAULT_CHUNK_BYTES)
            if chunk:
                await link.publish(topics.up_blob(device_id, sha256, index), chunk)

    def _offer_blob(self, sha256: str, size_bytes: int) -> None:
        self._offer(BlobOffer(sha256=sha256, size_bytes=size_bytes, chunk_bytes=DEFAULT_CHUNK_BYTES))
