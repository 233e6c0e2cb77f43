"""Fetches one artifact chunk by chunk: only what is missing or has come wrong, a few chunks at a time."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path

import anyio

from shoal_agent.blobs import BlobStore, PartialBlob
from shoal_agent.errors import AgentError, BudgetError, FetchError, LinkError
from shoal_agent.fetch_limits import FetchLimits
from shoal_agent.fetch_ways import FetchWays, RangeSource, RetainedSource
from shoal_agent.fetch_window import FetchWindow
from shoal_agent.settings import FetchSettings
from shoal_agent.turns import RightOfWay
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.errors import ContractError
from shoal_contract.errors import TransferError as WrongSizeError
from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_contract.transfer import TransferManifest, parse_transfer_manifest

AskAgain = Callable[[str, str], Awaitable[None]]
"""Tells the hub that an artifact's topics are silent or wrong: (sha256, detail)."""


AskNearby = Callable[[int], Awaitable[bytes | None]]
"""Returns a chunk of one artifact, with the listed hash, from nearby; None where the link has to be asked."""
Nearby = Callable[[TransferManifest], AbstractAsyncContextManager[AskNearby]]
"""Opens the way to whoever may have an artifact nearby; the site's cache, in production. It raises nothing."""


@asynccontextmanager
async def nobody_nearby(_manifest: TransferManifest) -> AsyncIterator[AskNearby]:
    """Have nobody nearby: every chunk comes over the link."""

    async def ask(_index: int) -> None:
        return None

    yield ask


class Fetcher:
    """Brings artifacts into the blob store; their lists always come over the uplink, chunks from nearby as well."""

    def __init__(
        self,
        source: RetainedSource,
        blobs: BlobStore,
        ask_again: AskAgain,
        settings: FetchSettings,
        nearby: Nearby = nobody_nearby,
        limits: FetchLimits | None = None,
        ranges: RangeSource | None = None,
    ) -> None:
        self._ways = FetchWays(source, ranges, settings)
        self._blobs = blobs
        self._ask_again = ask_again
        self._settings = settings
        self._nearby = nearby
        self._limits = limits
        self._right_of_way = RightOfWay()
        self._held: dict[str, tuple[TransferManifest, float]] = {}
        self._locks: dict[str, anyio.Lock] = {}

    async def fetch(self, ref: ArtifactRef, *, is_urgent: bool = False) -> Path:
        """Return the path of the verified artifact, fetched if it is not there.

        Two sections that need the same artifact share one transfer.

        Args:
            ref: The artifact.
            is_urgent: Whether it may come although the month's byte budget does not allow it, and other transfers stop
                for it between two chunks.

        Raises:
            BudgetError: It does not, and it is not urgent.
            FetchError: Chunks are missing or wrong for now; the hub has been asked to publish them again.
            LinkError: The link is down.
            DiskError: It can not be stored.
        """
        lock = self._locks.setdefault(ref.sha256, anyio.Lock())
        try:
            async with lock:
                is_there = self._blobs.has(ref.sha256)
                return self._blobs.path(ref.sha256) if is_there else await self._bring(ref, is_urgent)
        finally:
            if not lock.locked():
                self._locks.pop(ref.sha256, None)

    def within(self, limit_s: float | None, *, is_urgent: bool) -> AbstractContextManager[object]:
        """Limit the time of a block that fetches; while others have right of way, it stands still.

        Args:
            limit_s: Seconds; None for no limit.
            is_urgent: Whether what is fetched has it, too.

        Raises:
            TimeoutError: The block took longer.
        """
        return anyio.fail_after(limit_s) if is_urgent else self._right_of_way.within(limit_s)

    async def manifest(self, ref: ArtifactRef) -> TransferManifest:
        """Return the artifact's transfer manifest, which nobody has signed; of what is held back, the one that it had.

        Raises:
            FetchError: It is missing or wrong for now; the hub has been asked to publish the artifact again.
            LinkError: The link is down.
        """
        held, since_s = self._held.get(ref.sha256, (None, 0.0))
        if held is not None and time.monotonic() - since_s < self._settings.held_list_s:
            return held
        try:
            payload = await self._ways.chunk_list(ref)
            return parse_transfer_manifest(payload, ref.sha256, ref.size_bytes)
        except LinkError:
            self._ways.failed(ref.sha256)
            raise
        except (FetchError, ContractError) as error:
            await self._failed(ref, str(error))
            raise FetchError(str(error)) from error

    async def _bring(self, ref: ArtifactRef, is_urgent: bool) -> Path:
        manifest = await self.manifest(ref)
        try:
            partial = await self._blobs.work(self._blobs.open_partial, manifest)
            try:
                for _ in range(self._settings.chunk_attempts):
                    with self._right_of_way.taken() if is_urgent else nullcontext():
                        await self._fill(partial, is_urgent)
                    await self._blobs.work(partial.find_wrong)
                    if not partial.missing:
                        path = await self._blobs.work(self._blobs.finish, partial, ref)
                        self._held.pop(ref.sha256, None)
                        self._ways.succeeded(ref.sha256)
                        return path
                raise FetchError(_wrong(partial, self._settings.chunk_attempts))
            finally:
                partial.close()
        except BudgetError:
            if self._held.get(ref.sha256, (None, 0.0))[0] is not manifest:
                self._held[ref.sha256] = manifest, time.monotonic()
            raise
        except FetchError as error:
            self._held.pop(ref.sha256, None)
            await self._failed(ref, str(error))
            raise
        except LinkError:
            self._ways.failed(ref.sha256)
            raise

    async def _failed(self, ref: ArtifactRef, detail: str) -> None:
        """Note a failure, and have the hub publish the artifact again if that is where it should have come from."""
        self._ways.failed(ref.sha256)
        if ref.size_bytes <= MAX_ARTIFACT_BYTES:
            await self._ask_again(ref.sha256, detail[:256])

    async def _fill(self, partial: PartialBlob, is_urgent: bool) -> None:
        todo = sorted(partial.missing, reverse=True)
        most = self._most_at_a_time(partial)
        window = FetchWindow(most)
        failures: list[AgentError] = []

        async def worker(ask: AskNearby) -> None:
            while todo and not failures:
                await window.wait()
                try:
                    if todo and not failures:
                        started_s = time.monotonic()
                        await self._chunk(partial, todo.pop(), ask, is_urgent)
                        window.measured(is_fast=time.monotonic() - started_s < self._settings.fast_chunk_s)
                except AgentError as error:  # raised below: a task group would wrap it
                    failures.append(error)
                finally:
                    window.done()

        async with self._nearby(partial.manifest) as ask, anyio.create_task_group() as group:
            for _ in range(min(most, len(todo))):
                group.start_soon(worker, ask)
        if failures:
            raise failures[0]

    def _most_at_a_time(self, partial: PartialBlob) -> int:
        most, chunk_bytes = self._ways.window(partial.manifest), partial.manifest.chunk_bytes
        return most if self._limits is None else self._limits.window(chunk_bytes, most, self._settings.fast_chunk_s)

    async def _chunk(self, partial: PartialBlob, index: int, ask: AskNearby, is_urgent: bool) -> None:
        problem = ""
        for _ in range(self._settings.chunk_attempts):
            data = await ask(index)
            if not data:
                if not is_urgent:
                    await self._right_of_way.give()
                await self._admit(partial, index, is_urgent)
                if not is_urgent:  # what became urgent while this waited for the cap goes first all the same
                    await self._right_of_way.give()
                data = await self._ways.chunk(partial.manifest, index)
            try:
                await self._blobs.work(partial.write, index, data)
            except WrongSizeError as error:
                problem = str(error)
            else:
                return
        raise FetchError(f"{problem} ({self._settings.chunk_attempts} attempts)")

    async def _admit(self, partial: PartialBlob, index: int, is_urgent: bool) -> None:
        """Wait until a chunk may come over the uplink."""
        if self._limits is not None:
            doing = f"fetching {partial.manifest.sha256[:12]} ({partial.manifest.size_bytes} bytes)"
            size_bytes, left_bytes = partial.manifest.size_of(index), partial.missing_bytes
            await self._limits.admit(size_bytes, left_bytes, doing=doing, is_urgent=is_urgent)


def _wrong(partial: PartialBlob, attempts: int) -> str:
    wrong = ", ".join(str(index) for index in sorted(partial.missing)[:8])
    return f"checking chunk {wrong} of {partial.manifest.sha256[:12]}: another hash than listed ({attempts} attempts)"
