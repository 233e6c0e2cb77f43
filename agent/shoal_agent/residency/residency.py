"""Keeps what is loaded within the budget: makes room before a load, and has models come back as they are asked."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from logging import getLogger

import anyio
from anyio import to_thread

from shoal_agent.endpoint import RequestError
from shoal_agent.endpoint.message import TOO_MANY, UNAVAILABLE
from shoal_agent.errors import AgentError, DiskError
from shoal_agent.residency.choice import Preview, Resident, preview
from shoal_agent.residency.errors import EvictedError, MemoryBudgetError, UnloadedError
from shoal_agent.residency.notes import Measured, ResidencyNotes
from shoal_agent.serving import ModelServer, ServedModel
from shoal_agent.serving.models import Absence
from shoal_agent.settings import MemorySettings
from shoal_agent.slots import Slot

_log = getLogger(__name__)


async def _load_nothing(name: str) -> None:
    raise EvictedError(f"loading {name}: the agent has not started")


class Residency:
    """Decides which models are loaded. Belongs to the event loop.

    Args:
        server: What serves; of compositions nothing is counted, as their members are.
        settings: The owner's.
        priorities: Of models by name; those not named have 0.
        notes: What is remembered.
        clock_s: Seconds that never go back.
    """

    def __init__(
        self,
        server: ModelServer,
        settings: MemorySettings,
        priorities: Mapping[str, int],
        notes: ResidencyNotes,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.evictions: dict[str, int] = {}
        """How often each model gave way."""
        self.load: Callable[[str], Awaitable[None]] = _load_nothing
        """Loads what a model's roles say serves, by `make_room` and `settle`."""
        self.beside: Callable[[str], int] = lambda _: 0
        """Bytes that stand in for a model that serves: it gives way to nothing meanwhile."""
        self._server = server
        self._priorities = priorities
        self._notes = notes
        self._clock_s = clock_s
        self._used_s: dict[str, float] = {}
        self._deciding = anyio.Lock()
        self._loading = anyio.Lock()
        self._controlling = anyio.Lock()
        self._proving: set[str] = set()
        self._needed: Counter[str] = Counter()
        """Members of compositions that are being brought, and do not give way to each other."""
        self._coming: dict[str, asyncio.Future[AgentError | None]] = {}
        self._waiting = 0
        server.on_use = self.note_use

    def note_use(self, served: ServedModel) -> None:
        """Take note that a model is asked, and with a composition its members."""
        now_s = self._clock_s()
        for one in served.members or (served,):
            self._used_s[one.name] = now_s

    def touch(self, name: str) -> None:
        """Take note that a model comes, as somebody wants it now: not that it was there before a start."""
        self._used_s[name] = self._clock_s()

    def is_away(self, name: str) -> bool:
        """Whether a name is not served and can be, as soon as what has given way is loaded again."""
        return self._server.get(name) is None and self.settings.loads_on_demand and bool(self._missing(name))

    async def bring(self, name: str) -> None:
        """Have a model that is away served, for somebody who asks for it.

        Raises:
            RequestError: There is no room for it, or it does not load (503); too many wait for one already (429).
        """
        if self._waiting >= self.settings.most_waiting:
            message = f"{self._waiting} requests wait for models to be loaded, so that one for {name!r} is not taken"
            raise RequestError(message, TOO_MANY, "send fewer requests at a time, or try again later")
        absence = self._server.absent().get(name)
        needs = absence.needs if absence is not None else ()
        self._used_s |= dict.fromkeys(needs, self._clock_s())
        self._waiting += 1
        self._needed.update(needs)
        try:
            for model in self._missing(name):
                await self.bring_one(model)
        finally:
            self._needed.subtract(needs)
            self._waiting -= 1

    async def bring_one(self, name: str) -> None:
        """Load a model that is away, once for all who wait for it; who gives up waiting does not end it.

        Raises:
            RequestError: There is no room for it, or it does not load: 503.
        """
        coming = self._coming.get(name)
        if coming is None:
            coming = self._coming[name] = asyncio.ensure_future(self._load(name))
            coming.add_done_callback(lambda _: self._coming.pop(name, None))
        problem = await asyncio.shield(coming)
        if problem is not None:
            retry_s = self.settings.retry_after_s
            raise RequestError(str(problem), UNAVAILABLE, problem.remedy, retry_after_s=retry_s) from problem

    async def _load(self, name: str) -> AgentError | None:
        """Load a model, and return why it is not loaded then."""
        if self._server.get(name) is not None:
            return None
        self.touch(name)
        try:
            await self.load(name)
        except AgentError as error:
            return error
        absence = self._server.absent().get(name)
        return absence.why if absence is not None else None

    async def make_room(self, name: str, slot: Slot) -> Absence | None:
        """Unload what gives way to a version that is about to be loaded, where it is known what that takes.

        Returns:
            None: it may be loaded; else why it stays on the disk.
        """
        sha256 = slot.manifest.sha256
        if self._notes.is_unloaded(name, sha256):
            why: AgentError = UnloadedError(f"model {name!r} was told to unload")
            return Absence(str(slot.version), why, sha256)
        size_bytes = self._notes.measured_bytes(name, slot.sha256)
        if size_bytes is None or not self.settings.budget_bytes:
            return None
        async with self._deciding:
            found = self.preview(size_bytes, name)
            if not found.fits:
                return Absence(str(slot.version), self._no_room(name, size_bytes), sha256)
            await self._evict(found.evicted, name)
        return None

    def check(self, served: ServedModel) -> None:
        """See that a new version that was loaded does not take more than all may.

        Raises:
            MemoryBudgetError: It does.
        """
        budget_bytes, size_bytes = self.settings.budget_bytes, served.resident_bytes or 0
        if budget_bytes and size_bytes > budget_bytes:
            message = f"loading {served.name} version {served.version}: it takes {size_bytes} bytes of memory"
            raise MemoryBudgetError(f"{message}, all models together may take {budget_bytes}")

    def check_beside(self, served: ServedModel) -> None:
        """See that a version that was loaded beside others fits without any of them giving way.

        Raises:
            MemoryBudgetError: It does not.
        """
        found = self.preview(served.resident_bytes or 0)
        if self.settings.budget_bytes and (not found.fits or found.evicted):
            message = (
                f"loading {served.name} version {served.version} beside what serves: {served.resident_bytes} bytes"
            )
            raise MemoryBudgetError(f"{message} of memory found, there is no room for so many")

    async def settle(self, name: str) -> None:
        """Come back within the budget, now that a model was loaded and it is known what it takes."""
        served = self._server.get(name)
        if served is None:
            return
        await self._remember(served)
        if not self.settings.budget_bytes:
            return
        async with self._deciding:
            found = self.preview(self._size_of(served), name)
            await self._evict(found.evicted if found.fits else (name,), name)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Load one model at a time for the length of the block, so that what each takes is measured by itself."""
        has_turn = False
        with anyio.move_on_after(self.settings.load_turn_s):
            await self._loading.acquire()
            has_turn = True
        try:
            yield
        finally:
            if has_turn:
                self._loading.release()

    @contextmanager
    def proving(self, name: str) -> Iterator[None]:
        """Have a model give way to no other for the length of the block: it is being tried."""
        self._proving.add(name)
        try:
            yield
        finally:
            self._proving.discard(name)

    async def unload(self, name: str) -> None:
        """Serve a model no longer, now and after a restart; return once its memory is free.

        Raises:
            DiskError: That could not be noted; it is unloaded until the agent ends.
        """
        async with self._controlling:
            if name in self._coming:
                await asyncio.shield(self._coming[name])  # else it would be served behind our back
            served, absence = self._server.get(name), self._server.absent().get(name)
            version = str(served.version) if served is not None else absence.version if absence is not None else ""
            sha256 = served.manifest_sha256 if served is not None else absence.manifest_sha256 if absence else ""
            why = UnloadedError(f"model {name!r} was told to unload")
            with anyio.CancelScope(shield=True):  # who asked may leave while requests in flight are answered
                await self._server.swap(name, None, Absence(version, why, sha256))
                await to_thread.run_sync(self._notes.note_unloaded, name, sha256)

    async def reload(self, name: str) -> None:
        """Serve a model again that was told to unload, or gave way.

        Raises:
            RequestError: There is no room for it, or it does not load: 503.
            DiskError: It could not be noted that it is loaded again.
        """
        async with self._controlling:
            await to_thread.run_sync(self._notes.note_unloaded, name, None)
            await self.bring_one(name)

    def preview(self, size_bytes: int, name: str = "", priority: int | None = None) -> Preview:
        """Return what would give way to a model that takes so much.

        Args:
            size_bytes: What it takes.
            name: What it is called; empty: a model that is not here yet.
            priority: Its priority; None: as the owner has set it for its name.
        """
        rank = self._priorities.get(name, 0) if priority is None else priority
        is_kept = name in self.settings.kept or name in self._proving
        used_s = self._used_s.get(name, 0.0) if name else self._clock_s()
        comer = Resident(name, size_bytes, rank, used_s, is_kept)
        return preview(self.residents(), comer, self.settings.budget_bytes)

    def residents(self) -> list[Resident]:
        """Return what is loaded, by name."""
        served = [found for name in self._server.names() if (found := self._server.get(name)) is not None]
        return [
            Resident(
                one.name,
                self._size_of(one) + self.beside(one.name),
                self._priorities.get(one.name, 0),
                self._used_s.get(one.name, 0.0),
                self._stays(one.name),
            )
            for one in served
            if not one.members
        ]

    def _stays(self, name: str) -> bool:
        is_kept = name in self.settings.kept or name in self._proving
        return is_kept or self._needed[name] > 0 or self.beside(name) > 0

    def idle_s(self, name: str) -> float | None:
        """Return how long ago a model was asked or loaded last; None if it was not since the start."""
        used_s = self._used_s.get(name)
        return None if used_s is None else self._clock_s() - used_s

    def resting(self) -> dict[str, Absence]:
        """Return what is on the disk and not loaded, by name."""
        return {name: one for name, one in self._server.absent().items() if one.manifest_sha256}

    def known_bytes(self, name: str) -> int | None:
        """Return what a model took when it was loaded last; None if that is not known."""
        return self._notes.last_bytes(name)

    def priority_of(self, name: str) -> int:
        """Return a model's priority."""
        return self._priorities.get(name, 0)

    def _missing(self, name: str) -> tuple[str, ...]:
        """Return what has to be loaded for a name to be served; nothing, where that is not for a request to have."""
        absent = self._server.absent()
        absence = absent.get(name)
        if absence is None:
            return ()
        needed = tuple(one for one in absence.needs or (name,) if self._server.get(one) is None)
        found = [absent.get(one) for one in needed]
        return needed if all(one is not None and isinstance(one.why, EvictedError) for one in found) else ()

    async def _evict(self, names: tuple[str, ...], comer: str) -> None:
        for name in names:
            served = self._server.get(name)
            if served is None:
                continue
            size_bytes = self._size_of(served)
            _log.info("memory: %s version %d gives way to %s: %d bytes", name, served.version, comer, size_bytes)
            self.evictions[name] = self.evictions.get(name, 0) + 1
            gave_way = EvictedError(f"model {name!r} gave way to {comer!r} in memory")
            why = self._no_room(name, size_bytes) if name == comer else gave_way
            await self._server.swap(name, None, Absence(str(served.version), why, served.manifest_sha256))

    def _no_room(self, name: str, size_bytes: int) -> EvictedError:
        budget_bytes = self.settings.budget_bytes
        if size_bytes > budget_bytes:
            message = f"model {name!r} takes {size_bytes} bytes of memory, all models together may take {budget_bytes}"
            return EvictedError(message, MemoryBudgetError.default_remedy)
        kept = ", ".join(one.name for one in self.residents() if one.name != name)
        message = f"model {name!r} takes {size_bytes} bytes of memory, and {kept} do not give way to it"
        return EvictedError(message, "unload one of them, or give the model a higher priority: --priority MODEL=N")

    def _size_of(self, served: ServedModel) -> int:
        """Return what a loaded model takes: the most that its file was ever measured to.

        A load into memory that was in use before, or one that has run little yet, shows too little of it.
        """
        known = self._notes.measured_bytes(served.name, _file_of(served))
        return max(served.resident_bytes or 0, known or 0)

    async def _remember(self, served: ServedModel) -> None:
        name = served.name
        try:
            if served.resident_bytes:
                measured = Measured(file_sha256=_file_of(served), size_bytes=self._size_of(served))
                await to_thread.run_sync(self._notes.note_measured, name, measured)
            await to_thread.run_sync(self._notes.note_unloaded, name, None)
        except DiskError as error:  # it is measured again at the next start
            _log.error("memory: what %s takes is not remembered: %s", name, error)


def _file_of(served: ServedModel) -> str:
    return served.manifest.variant_for(served.target).sha256
