"""Run as a process: a device's endpoint and its part in handing over, with a model that works on an accelerator.

The model is a real one; the accelerator is a delay, in which this process's cores are free. Prints a line of JSON with
its addresses, then follows policies, a line each, until its input ends.

Usage: python -m tests.simulators.slow_endpoint IDENTITY_FOLDER DELAY_S
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import anyio
from tests.agent.serving.conftest import SeenRequests, served_tiny

from shoal_agent.clock import Clock
from shoal_agent.endpoint import Address, Listener
from shoal_agent.engines import Array, Engine, EngineSetup
from shoal_agent.handover import Neighbours
from shoal_agent.identity import load_identity
from shoal_agent.serving import Inference, ModelServer, ServingSettings, create_router
from shoal_agent.settings import HandoverSettings
from shoal_contract.desired import DesiredSite
from shoal_contract.manifest import TensorSpec
from shoal_hub.broker.ports import free_port


class OnAccelerator:
    """A real engine whose runs take longer."""

    is_in_use = False

    def __init__(self, engine: Engine, delay_s: float) -> None:
        self._engine = engine
        self._delay_s = delay_s

    @property
    def setup(self) -> EngineSetup:
        return self._engine.setup

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._engine.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._engine.outputs

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        time.sleep(self._delay_s)
        return self._engine.infer(inputs)

    def close(self) -> None:
        self._engine.close()


async def serve(folder: Path, delay_s: float) -> None:
    """Serve until standard input ends."""
    served = served_tiny()
    server = ModelServer()
    await server.swap("tiny", replace(served, engine=OnAccelerator(served.engine, delay_s)))
    inference = Inference(server, SeenRequests(), ServingSettings(workers=1, max_waiting=1000))
    handover_port = free_port()
    identity = load_identity(folder)
    settings = HandoverSettings(host="127.0.0.1", port=handover_port)
    neighbours = Neighbours(inference, identity, Clock(None), settings)
    router = create_router(inference, pass_on=neighbours.pass_on)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with anyio.create_task_group() as group:
        port = await group.start(Listener(router).serve, Address())
        tell({"port": port, "handover_port": handover_port, "device": identity.device_id})
        while line := await reader.readline():
            await neighbours.converge(group, DesiredSite.model_validate_json(line))
            tell({"follows": True})
        group.cancel_scope.cancel()


def tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(serve, Path(sys.argv[1]), float(sys.argv[2]))
