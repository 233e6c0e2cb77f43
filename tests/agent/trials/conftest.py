"""An endpoint with arms and a shadow beside it, and engines that disagree on purpose."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from tests.agent.serving.conftest import SeenRequests, served_tiny

from shoal_agent.endpoint import Address, Listener
from shoal_agent.engines import Array, Engine, EngineError, EngineSetup
from shoal_agent.serving import Inference, ModelServer, create_router
from shoal_agent.trials import Arms, Shadow
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel, DesiredTrial
from shoal_contract.manifest import TensorSpec

START = datetime(2026, 11, 1, tzinfo=timezone.utc)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def trial(**changes: Any) -> DesiredTrial:
    """A trial of version 2 against version 1 of the tiny model that sees everything."""
    candidate = DesiredModel(
        version=2,
        target="generic-onnx-float32",
        manifest=ArtifactRef(sha256="0" * 64, size_bytes=1),
        deployment="t-1",
    )
    fields: dict[str, Any] = {
        "id": "t-1",
        "mode": "shadow",
        "candidate": candidate,
        "against": 1,
        "share": 1.0,
        "salt": "0123456789abcdef",
        "ends_at": START + timedelta(days=1),
        "max_cpu_share": 64,
    }
    return DesiredTrial.model_validate(fields | changes)


@dataclass
class OtherEngine:
    """The tiny model, but the labels of samples whose first feature is positive are turned by one; or it fails."""

    engine: Engine
    fails: bool = False

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.engine.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.engine.outputs

    @property
    def setup(self) -> EngineSetup:
        return self.engine.setup

    @property
    def is_in_use(self) -> bool:
        return self.engine.is_in_use

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self.fails:
            raise EngineError("running the candidate: it fails")
        answers = self.engine.infer(inputs)
        turned = np.roll(answers["probabilities"], 1, axis=1)
        answers["probabilities"] = np.where(inputs["x"][:, :1] > 0, turned, answers["probabilities"])
        return answers

    def close(self) -> None:
        self.engine.close()


@dataclass
class Tried:
    """A served tiny model in version 1, with version 2 loaded beside it."""

    server: ModelServer
    arms: Arms
    shadow: Shadow
    seen: SeenRequests
    client: httpx.AsyncClient
    candidate: OtherEngine

    async def infer(self, x: list[float], key: str = "", version: str = "", answer_id: str = "") -> str:
        """Ask once; return the version that answered."""
        path = f"/v2/models/tiny/versions/{version}/infer" if version else "/v2/models/tiny/infer"
        body: dict[str, Any] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": x}]}
        body |= {"id": answer_id} if answer_id else {}
        response = await self.client.post(path, json=body, headers={"Shoal-Key": key} if key else {})
        assert response.status_code == 200, response.text
        return str(response.json()["model_version"])


@asynccontextmanager
async def trying(**settings: Any) -> AsyncIterator[Tried]:
    """Serve on a free port until the block ends."""
    server, seen = ModelServer(), SeenRequests()
    arms = Arms(server)
    shadow = Shadow(seen, arms, lambda: START, **settings)
    candidate = OtherEngine(served_tiny().engine)

    async with anyio.create_task_group() as group:
        group.start_soon(shadow.run)
        router = create_router(Inference(server, shadow, choose=arms.choose))
        port = await group.start(Listener(router).serve, Address())
        await server.swap("tiny", served_tiny(1))
        await arms.candidates.swap("tiny", served_tiny(2, candidate))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield Tried(server, arms, shadow, seen, client, candidate)
        await arms.candidates.aclose()
        await server.aclose()
        group.cancel_scope.cancel()
