"""A served tiny model behind a real HTTP server, and what the observer saw."""

import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
import anyio.to_thread
import httpx
import pytest
from tests.agent.endpoints import listening
from tests.fixtures import tiny

from shoal_agent.endpoint import EndpointLimits
from shoal_agent.engines import CPU, Array, Engine, EngineSetup, load_engine
from shoal_agent.serving import Inference, ModelServer, ServedModel, ServingSettings, create_router
from shoal_contract.manifest import TensorSpec, VersionManifest
from shoal_contract.telemetry import Misfit


@dataclass
class SeenRequests:
    """An observer that keeps what it was shown."""

    answered: list[tuple[dict[str, Array], dict[str, Array], float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    misfits: list[Misfit | None] = field(default_factory=list)
    """By request that got an error."""

    def observe(
        self,
        _: ServedModel,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        latency_ms: float,
        answer_id: str,
    ) -> None:
        self.ids.append(answer_id)
        self.answered.append((dict(inputs), dict(outputs), latency_ms))

    def observe_error(self, served: ServedModel, misfit: Misfit | None = None) -> None:
        self.errors.append(served.name)
        self.misfits.append(misfit)


@dataclass
class GatedEngine:
    """A real engine that answers only once its gate is open, and tells whether it has been closed."""

    engine: Engine
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    closed: int = 0
    together: int = 1
    accelerator: str = CPU

    @property
    def setup(self) -> EngineSetup:
        return replace(self.engine.setup, together=self.together, accelerator=self.accelerator)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.engine.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.engine.outputs

    @property
    def is_in_use(self) -> bool:
        return self.engine.is_in_use

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.entered.release()
        assert self.gate.wait(10)
        return self.engine.infer(inputs)

    def close(self) -> None:
        self.closed += 1
        self.engine.close()

    async def wait_entered(self) -> None:
        await anyio.to_thread.run_sync(self.entered.acquire)


@dataclass
class Endpoint:
    """A running endpoint: what it serves, what was observed, and a client of it."""

    server: ModelServer
    seen: SeenRequests
    client: httpx.AsyncClient
    port: int
    inference: Inference

    async def wait_for_waiting(self, count: int) -> None:
        """Wait until so many requests wait for a worker."""
        with anyio.fail_after(10):
            while self.inference.workers.waiting() < count:  # noqa: ASYNC110 - nothing tells it
                await anyio.sleep(0.01)

    async def infer(self, body: object, path: str = "/v2/models/tiny/infer") -> httpx.Response:
        return await self.client.post(path, json=body)


def served_tiny(version: int = 1, engine: Engine | None = None) -> ServedModel:
    """The tiny ONNX model as the updater would hand it over."""
    variant = tiny.onnx_variant()
    engine = engine or load_engine(tiny.path_of(variant), variant, tiny.INPUTS, tiny.OUTPUTS)
    return ServedModel("tiny", version, variant.target, tiny.tiny_manifest(version), f"{version:064x}", engine)


def served_pair() -> ServedModel:
    """The model of two inputs and two outputs."""
    variant = tiny.onnx_variant("pair")
    engine = load_engine(tiny.path_of(variant, "pair"), variant, tiny.PAIR_INPUTS, tiny.PAIR_OUTPUTS)
    fields = tiny.tiny_manifest(model="pair").model_dump()
    manifest = VersionManifest.model_validate(fields | {"inputs": tiny.PAIR_INPUTS, "outputs": tiny.PAIR_OUTPUTS})
    return ServedModel("pair", 1, variant.target, manifest, "0" * 64, engine)


def served_stream(engine: Engine | None = None) -> ServedModel:
    """The model whose requests are one sample each: a state, and a setting without axes."""
    manifest = tiny.stream_manifest()
    [variant] = manifest.variants
    engine = engine or load_engine(tiny.path_of(variant, "stream"), variant, manifest.inputs, manifest.outputs)
    return ServedModel("stream", 1, variant.target, manifest, "5" * 64, engine)


@asynccontextmanager
async def running(
    settings: ServingSettings = ServingSettings(),  # noqa: B008 - frozen
    limits: EndpointLimits = EndpointLimits(),  # noqa: B008 - frozen
) -> AsyncIterator[Endpoint]:
    """Serve on a free port until the block ends."""
    server, seen = ModelServer(), SeenRequests()
    inference = Inference(server, seen, settings)
    async with listening(create_router(inference), limits) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield Endpoint(server, seen, client, port, inference)
        await server.aclose()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with running() as endpoint:
        await endpoint.server.swap("tiny", served_tiny())
        yield endpoint
