"""Which model is served under which name, and the swap that no request notices."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger
from typing import Final, NamedTuple, Protocol

import anyio
from anyio import to_thread

from shoal_agent.engines import Array, Engine
from shoal_agent.errors import AgentError
from shoal_contract.manifest import VersionManifest
from shoal_contract.telemetry import Misfit, VersionCost

_DRAIN_S: Final = 75.0
_log = getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version that answers requests. `manifest_sha256` is the hash by which the desired state names it."""

    name: str
    version: int
    target: str
    manifest: VersionManifest
    manifest_sha256: str
    engine: Engine
    cost: VersionCost | None = None
    """What it took to load and takes to run here, where that was measured."""
    measured_s: float = 0.0
    """How long that was measured, once it had been loaded and tested."""
    self_test_s: float = 0.0
    """What its self-test took of the thread that it ran in, waiting for others left out; 0: that is not known."""
    members: "tuple[ServedModel, ...]" = ()
    """Of a composition: what it asks. Observers are shown what these did, each by itself."""
    combined: str = ""
    """Of a composition: the output that is combined, or has a cascade's probabilities."""
    weighed_bytes: int | None = None
    """What the process grew by as it was loaded and tested, where that was looked at."""

    @property
    def resident_bytes(self) -> int | None:
        """What it was measured to take of the memory, once it had run; None or 0: that is not known."""
        return self.cost.memory_bytes if self.cost is not None else self.weighed_bytes


class Absence(NamedTuple):
    """Why a model does not serve that this device knows.

    Attributes:
        version: That would serve.
        why: What is told to who asks.
        manifest_sha256: Of a model that rests on the disk, ready to be loaded: its manifest's hash.
        needs: Of a composition: the models that have to be served for it to be.
    """

    version: str
    why: AgentError
    manifest_sha256: str = ""
    needs: tuple[str, ...] = ()


class Observer(Protocol):
    """Sees what is served; called from worker threads, must be quick and never raise on what a client sent."""

    def observe(
        self,
        served: ServedModel,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        latency_ms: float,
        answer_id: str,
    ) -> None:
        """Take note of one answered request; `answer_id` is what the answer is called, by its asker or by us."""

    def observe_error(self, served: ServedModel, misfit: Misfit | None = None) -> None:
        """Take note of one request to a model that got an error instead of an answer.

        `misfit` says by what it did not fit the model's schema, where that was it.
        """


def _tell_nobody(_: str) -> None:
    """Stands in where nobody wants to know."""


class _Place:
    """A served model, how many requests use it, and whether it has been swapped out."""

    def __init__(self, served: ServedModel) -> None:
        self.served = served
        self.in_flight = 0
        self.is_retired = False
        self.is_left = False
        """Whether nobody waits any more until it is idle."""
        self.idle = anyio.Event()

    def note_if_idle(self) -> None:
        """Let whoever waits for it close it; once nobody does, close it here."""
        if self.is_retired and self.in_flight == 0 and not self.idle.is_set():
            self.idle.set()
            if self.is_left:
                self.served.engine.close()

    async def drain(self) -> None:
        """Close the engine once no request uses it, in a thread: freeing a large model takes a while."""
        try:
            await self.idle.wait()
        finally:
            self.is_left = not self.idle.is_set()
            if not self.is_left:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(self.served.engine.close)


class ModelServer:
    """The served models by name. Belongs to the event loop: call it from there only.

    Args:
        drain_s: How long a swap waits for the old version's requests: longer than any of them is answered in.
    """

    def __init__(self, drain_s: float = _DRAIN_S) -> None:
        self._drain_s = drain_s
        self._places: dict[str, _Place] = {}
        self._absent: dict[str, Absence] = {}
        self.on_change: Callable[[str], None] = _tell_nobody
        """Called with a name as soon as something else, or nothing, serves under it; what served is still open then."""
        self.on_use: Callable[[ServedModel], None] = lambda _: None
        """Called with what is borrowed."""

    def get(self, name: str) -> ServedModel | None:
        """Return what is served under a name now."""
        place = self._places.get(name)
        return place.served if place else None

    def names(self) -> tuple[str, ...]:
        """Return the names that are served now, sorted."""
        return tuple(sorted(self._places))

    def absent(self) -> dict[str, Absence]:
        """Return what this device knows and does not serve, by name."""
        return dict(sorted(self._absent.items()))

    @contextmanager
    def borrow(self, name: str, *, is_use: bool = True) -> Iterator[ServedModel | None]:
        """Hold what is served under a name: its engine stays open until the block ends, whatever is swapped.

        Args:
            name: Of the model.
            is_use: Whether somebody asks it.
        """
        place = self._places.get(name)
        if place is None:
            yield None
            return
        if is_use:
            self.on_use(place.served)
        place.in_flight += 1
        try:
            yield place.served
        finally:
            place.in_flight -= 1
            place.note_if_idle()

    async def swap(self, name: str, served: ServedModel | None, absence: Absence | None = None) -> None:
        """Serve another version, or none, from now on; return once the old one has answered and is closed.

        The switch itself happens before the first await. If the caller is cancelled while the old engine drains, or a
        run of it does not end, the switch stands and the old engine is closed by the last request that uses it.

        Args:
            name: Under which name.
            served: What serves; None: nothing does.
            absence: Then: why, to whoever asks; None: the device does not know the model any more.
        """
        old = self._put(name, served, absence)
        if old is not None:
            old.note_if_idle()
            with anyio.move_on_after(self._drain_s):
                await old.drain()
            if old.is_left:
                _log.warning("%s: a run of the version before does not end; its memory is not free until then", name)

    def put(self, name: str, served: ServedModel | None, absence: Absence | None = None) -> None:
        """Serve another version, or none, from now on; the last request that uses the old one closes it."""
        old = self._put(name, served, absence)
        if old is not None:
            old.is_left = True
            old.note_if_idle()

    def _put(self, name: str, served: ServedModel | None, absence: Absence | None) -> _Place | None:
        """Switch, and return what gives way, which is still open."""
        old = self._places.pop(name, None)
        self._absent.pop(name, None)
        if served is not None:
            self._places[name] = _Place(served)
        elif absence is not None:
            self._absent[name] = absence
        if old is not None:
            old.is_retired = True
        self.on_change(name)
        return old

    async def aclose(self) -> None:
        """Stop serving everything; return once all engines are closed."""
        for name in self.names():
            await self.swap(name, None)
