"""A board with several real models under one budget; what each takes is for the test to say."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest
from tests.agent.endpoints import listening
from tests.agent.serving.conftest import GatedEngine, SeenRequests
from tests.agent.simulators.device import TARGETS, ListedManifests, file_of
from tests.agent.simulators.director import DEVICE, ref_of, wanted_of
from tests.agent.simulators.retained import RetainedTopics
from tests.fixtures import tiny

from shoal_agent.blobs import BlobStore
from shoal_agent.clock import system_clock
from shoal_agent.compositions import Compositions
from shoal_agent.conditions import Conditions
from shoal_agent.encryption_key import load_or_make_encryption_key
from shoal_agent.engines import CostMeter, Engine, load_version
from shoal_agent.fetch import Fetcher
from shoal_agent.metrics import exposition, memory_families
from shoal_agent.models import Models
from shoal_agent.reporting import Reporter
from shoal_agent.residency import DeviceRepository, Residency, ResidencyNotes, memory_routes
from shoal_agent.sections import Sections
from shoal_agent.serving import Inference, ModelServer, create_router
from shoal_agent.settings import FetchSettings, MemorySettings
from shoal_agent.slots import SlotFile
from shoal_agent.updater import Profile, Updater
from shoal_contract.compositions import DesiredComposition
from shoal_contract.manifest import Variant, VersionManifest
from shoal_contract.reported import Hardware

BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}]}
HARDWARE = Hardware(kind="generic", model="test", architecture="x86_64", cores=1, memory_bytes=1)


class Scaled(GatedEngine):
    """A real engine that weighs what the test says, until it is closed."""

    def __init__(self, engine: Engine, board: "Board", size_bytes: int) -> None:
        super().__init__(engine)
        self.gate.set()
        self._board, self._size_bytes = board, size_bytes
        board.taken_bytes += size_bytes

    def close(self) -> None:
        if not self.closed:
            self._board.taken_bytes -= self._size_bytes
        super().close()


class Board:
    """Models `a`, `b`, ... with real updaters; `sizes` is what each takes by its name."""

    def __init__(
        self, folder: Path, sizes: Mapping[str, int], settings: MemorySettings, priorities: Mapping[str, int] = {}
    ) -> None:
        self.folder = folder
        self.sizes = dict(sizes)
        self.taken_bytes = 0
        self.loads: list[str] = []
        self.load_s = 0.0
        self.now_s = 0.0
        self.server = ModelServer()
        self.residency = Residency(
            self.server, settings, priorities, ResidencyNotes(folder / "residency.json"), self.tick
        )
        self.source = RetainedTopics()
        self.trust = ListedManifests(self.source.listed)
        self.blobs = BlobStore(folder / "blobs")
        self.fetcher = Fetcher(self.source, self.blobs, self._missed, FetchSettings(silence_s=0.05))
        self.reporter = Reporter(HARDWARE, (), (), "0", system_clock)
        self.models = Models(folder / "models", self._updater, self.reporter, lambda _: None)
        self.residency.load = self.models.load_again
        self.order = 0

    def tick(self) -> float:
        self.now_s += 1.0
        return self.now_s

    def engine(self, name: str) -> Scaled:
        served = self.server.get(name)
        assert served is not None
        engine = getattr(served.engine, "_engine", served.engine)  # within the one that is watched
        assert isinstance(engine, Scaled)
        return engine

    async def deploy(self, name: str, number: int = 1) -> str | None:
        """Roll a version out and wait until it was proved; return the step under which that is reported."""
        manifest = tiny.tiny_manifest(number, model=name)
        file = file_of(number)
        ref = ref_of(file)
        variant = manifest.variants[0].model_copy(update={"sha256": ref.sha256, "size_bytes": ref.size_bytes})
        manifest = manifest.model_copy(update={"variants": (variant,)})
        self.trust.listed.add(ref_of(manifest.to_bytes()).sha256)
        self.source.publish(manifest.to_bytes())
        self.source.publish(file)
        self.order += 1
        return await self.models.convergence(name, wanted_of(manifest, f"dp-{self.order}"), (1, self.order))()

    def loaded(self) -> tuple[str, ...]:
        return self.server.names()

    async def ask(self, name: str) -> None:
        """Use a model as a request does, from outside of the endpoint."""
        if self.residency.is_away(name):
            await self.residency.bring(name)
        with self.server.borrow(name) as served:
            assert served is not None

    async def restart(self, settings: MemorySettings | None = None, priorities: Mapping[str, int] = {}) -> "Board":
        """Return the board after a start, booted."""
        await self.server.aclose()
        again = Board(self.folder, self.sizes, settings or self.residency.settings, priorities)
        again.order = self.order
        await again.models.boot()
        return again

    @asynccontextmanager
    async def endpoint(self, *, may_control: bool = True) -> AsyncIterator[httpx.AsyncClient]:
        """Serve the board's models until the block ends."""
        inference = Inference(self.server, SeenRequests(), on_demand=self.residency)
        repository = DeviceRepository(self.server, self.residency) if may_control else None
        async with listening(create_router(inference, memory_routes(self.residency), repository)) as port:
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
                yield client
        inference.close()

    @asynccontextmanager
    async def composing(self, **wanted: DesiredComposition) -> AsyncIterator[None]:
        """Serve compositions of the board's models until the block ends."""
        async with anyio.create_task_group() as group:
            compositions = Compositions(self.server, SeenRequests(), self.reporter.section)
            compositions.follow(wanted, Sections(group, self.reporter, 3600.0, 3600.0))
            await wait_for(lambda: wanted.keys() <= set(self.server.names()))
            yield
            compositions.close()
            group.cancel_scope.cancel()

    def metrics(self) -> str:
        return exposition(memory_families(self.residency)).decode()

    def _updater(self, name: str) -> Updater:
        return Updater(
            name,
            SlotFile(self.folder / "models", name),
            self.blobs,
            self.fetcher,
            self.server,
            Profile(TARGETS, ("onnxruntime",)),
            self.trust,
            3,
            load_or_make_encryption_key(self.folder / "identity", DEVICE),
            Conditions(),
            load_engine=partial(self._load, name),
            cost_meter=CostMeter(lambda: self.taken_bytes, release=lambda: None, most_s=0.0),
            residency=self.residency,
        )

    async def _missed(self, sha256: str, _: str) -> None:
        raise AssertionError(sha256)

    def _load(self, name: str, path: Path, manifest: VersionManifest, variant: Variant) -> Engine:
        self.loads.append(name)
        time.sleep(self.load_s)
        return Scaled(load_version(path, manifest, variant), self, self.sizes[name])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something is so; nothing tells it."""
    with anyio.fail_after(5):
        while not holds():  # noqa: ASYNC110
            await anyio.sleep(0.001)
