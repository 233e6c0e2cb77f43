"""`python -m shoal_agent.standalone.worker`: one process that serves what its parent says, until that ends.

Its standard input and output are its parent's alone. A version that does not pass is told, and what served before
serves on; the swap of one that does is the device's, which no request notices.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Final

import anyio
import anyio.lowlevel
from anyio import to_thread
from anyio.abc import TaskGroup

from shoal_agent.blobs import BlobStore
from shoal_agent.encryption_key import new_encryption_key
from shoal_agent.endpoint import Address, EndpointLimits, Listener
from shoal_agent.engines import Array, Instruments, Machine, Runtimes
from shoal_agent.errors import AgentError, cause_of
from shoal_agent.handover import HandoverServer, Place
from shoal_agent.hardware import detect
from shoal_agent.loading import Loader, Profile
from shoal_agent.local_serving import Opening, open_places
from shoal_agent.metrics.exposition import Family
from shoal_agent.metrics.serving import serving_families
from shoal_agent.serving import Inference, ModelServer, ServedModel, create_router
from shoal_agent.serving.redis_cache import RedisCache, RedisSettings
from shoal_agent.settings import EngineSettings
from shoal_agent.standalone.metrics import cache_families, merged_route, own_router
from shoal_agent.standalone.plan import Said, Wanted, WorkerPlan
from shoal_agent.standalone.site import identify, read_again, server_context
from shoal_agent.telemetry import resident_bytes
from shoal_contract.desired import DesiredModel
from shoal_contract.telemetry import Misfit

_MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_log = logging.getLogger(__name__)
Tell = Callable[[Said], None]


class Unobserved:
    """What is served beside a hub is watched by nobody: no baseline, no drift, no labels."""

    def observe(
        self,
        served: ServedModel,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        latency_ms: float,
        answer_id: str,
    ) -> None:
        """Let it pass."""

    def observe_error(self, served: ServedModel, misfit: Misfit | None = None) -> None:
        """Let it pass."""


@dataclass
class Worker:
    """Serves from the parent's store.

    Attributes:
        plan: Who it is, and its bounds.
        tell: Takes what the parent is to know.
    """

    plan: WorkerPlan
    tell: Tell
    server: ModelServer = field(default_factory=ModelServer)
    siblings: Mapping[int, int] = field(default_factory=dict)
    _own_port: int = 0

    async def run(self, lines: AsyncIterator[bytes]) -> None:
        """Serve until the lines end.

        Raises:
            AgentError: An endpoint can not be opened.
        """
        self._blobs = BlobStore(self.plan.data / "blobs", is_read_only=True)
        self._runtimes = await to_thread.run_sync(self._open_runtimes)
        handover: HandoverServer | None = None
        cache = self._open_cache()
        inference = Inference(self.server, Unobserved(), self.plan.serving(), cache=cache)
        try:
            async with anyio.create_task_group() as group:
                async for line in lines:
                    wanted = Wanted.model_validate_json(line)
                    self.siblings = wanted.siblings
                    if handover is not None:
                        handover.members = wanted.members
                    if await self._converge(wanted.models, group):
                        if not self._own_port:
                            await self._open(group, inference)
                            handover = await self._listen_to_devices(group, inference, wanted.members)
                        self.tell(Said(kind="serves", models=self._serving(), own_port=self._own_port))
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self.server.aclose()
            inference.close()
            if cache is not None:
                cache.close()

    async def _converge(self, wanted: Mapping[str, DesiredModel], group: TaskGroup) -> bool:
        """Serve what is wanted; return whether all of it does."""
        serves_all = True
        for name, one in wanted.items():
            if self._serving().get(name) == one.manifest.sha256:
                continue
            try:
                served = await self._load(name, one)
            except AgentError as error:
                message = f"{error}; {error.remedy}"
                said = Said(kind="failed", model=name, manifest=one.manifest.sha256, message=message)
                self.tell(said)
                serves_all = False
            else:
                group.start_soon(self.server.swap, name, served)  # the switch is at once, the old one ends by itself
        await anyio.lowlevel.checkpoint()
        return serves_all

    async def _load(self, name: str, wanted: DesiredModel) -> ServedModel:
        profile = Profile((wanted.target,), self._runtimes.usable())
        loader = Loader(name, self._blobs, profile, new_encryption_key("none"), self._runtimes.load)
        return await loader.load(await loader.choose(wanted), wanted, timeout_s=self.plan.load_timeout_s)

    def _serving(self) -> dict[str, str]:
        return {name: served.manifest_sha256 for name in self.server.names() if (served := self.server.get(name))}

    async def _open(self, group: TaskGroup, inference: Inference) -> None:
        """Take requests: only now, so that none comes to a worker that has nothing to answer with."""
        plan = self.plan

        def own() -> list[Family]:
            return [*serving_families(inference.statistics), *cache_families(inference.cache)]

        self._own_port = await group.start(Listener(own_router(own)).serve, Address())
        routes = [merged_route(plan.number, own, lambda: self.siblings)]
        opening = Opening(
            plan.places(),
            EndpointLimits(),
            plan.folder,
            f"worker {plan.number}",
            keys=plan.data / "api-keys.json",
            is_shared=True,
            handed=None if plan.handed is None else socket.socket(fileno=plan.handed),
        )
        await open_places(group, opening, create_router(inference, routes), inference)

    async def _listen_to_devices(
        self, group: TaskGroup, inference: Inference, members: Collection[str]
    ) -> HandoverServer | None:
        """Take requests of a site's devices, if the server is there for one."""
        plan = self.plan
        if not plan.handover_host:
            return None
        folder = plan.handover_folder
        place = Place(
            plan.handover_host, plan.handover_port, partial(server_context, folder), partial(read_again, folder)
        )
        server = HandoverServer(inference, partial(identify, folder), place, is_shared=True)
        server.members = members
        await group.start(server.listen)
        return server

    def _open_cache(self) -> RedisCache | None:
        if not self.plan.redis_url:
            return None
        settings = RedisSettings(lookups=self.plan.threads)
        return RedisCache(self.plan.redis_url, self.plan.cache_ttl_s, settings)

    def _open_runtimes(self) -> Runtimes:
        settings = EngineSettings(most_threads=self.plan.engine_threads)
        machine = Machine(detect(), instruments=Instruments(resident_bytes=resident_bytes))
        return Runtimes(settings, self.plan.folder, machine)


async def _run() -> None:
    said = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a runtime prints is none of the parent's lines

    def tell(line: Said) -> None:
        said.write(line.model_dump_json() + "\n")
        said.flush()

    async with aclosing(_lines()) as lines, anyio.create_task_group() as group:
        group.start_soon(_stop_on_sigterm, group)
        plan = WorkerPlan.model_validate_json(await anext(lines))
        await Worker(plan, tell).run(lines)
        group.cancel_scope.cancel()


async def _lines() -> AsyncGenerator[bytes, None]:
    reader = asyncio.StreamReader(limit=_MAX_LINE_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        yield line


async def _stop_on_sigterm(group: TaskGroup) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            group.cancel_scope.cancel()


def main() -> None:
    """Run one worker."""
    level = os.environ.get("SHOAL_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        anyio.run(_run, backend_options={"use_uvloop": find_spec("uvloop") is not None})
    except Exception as error:
        cause = cause_of(error)
        if not isinstance(cause, AgentError):
            raise
        _log.error("%s; %s", cause, cause.remedy)
        sys.exit(1)


if __name__ == "__main__":
    main()
