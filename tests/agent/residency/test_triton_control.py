"""The stock tritonclient asks a composition, and unloads and loads a member of it, over HTTP and gRPC."""

import json
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.agent.compositions.conftest import ensemble
from tests.agent.residency.conftest import Board
from tests.agent.serving.conftest import SeenRequests
from tests.agent.serving.stock_client import REQUIREMENTS
from tests.environments import environment

from shoal_agent.residency import DeviceRepository
from shoal_agent.serving import Inference
from shoal_agent.settings import MemorySettings

pytest.importorskip("grpc")
from shoal_agent.serving.grpc.service import serve_grpc

pytestmark = pytest.mark.anyio
SCRIPT = Path(__file__).with_name("triton_control.py")


async def run(kind: str, address: str) -> dict[str, Any]:
    python = environment("tritonclient", *REQUIREMENTS)
    command = [str(python), str(SCRIPT), kind, address, "a", "both"]
    ran = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
    assert ran.returncode == 0, ran.stderr.decode()
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("kind", ["http", "grpc"])
async def test_a_member_is_unloaded_and_loaded(tmp_path: Path, kind: str) -> None:
    board = Board(tmp_path, {"a": 40, "b": 40}, MemorySettings())
    for name in ("a", "b"):
        await board.deploy(name)
    async with board.composing(both=ensemble("a", "b")), anyio.create_task_group() as group:
        if kind == "http":
            async with board.endpoint() as client:
                found = await run(kind, f"127.0.0.1:{client.base_url.port}")
        else:
            inference = Inference(board.server, SeenRequests(), on_demand=board.residency)
            repository = DeviceRepository(board.server, board.residency)

            async def serve(*, task_status: Any) -> None:
                await serve_grpc(inference, 0, 2**20, repository=repository, task_status=task_status)

            found = await run(kind, f"127.0.0.1:{await group.start(serve)}")
            group.cancel_scope.cancel()
    assert found["before"] == ["(1, 3)", "(1, 3)"]
    assert "it is made of other models" in found["composition"]
    assert found["unloaded"][0] is False
    assert "model 'a' was told to unload" in found["unloaded"][1]
    assert "its member 'a' is not served: model 'a' was told to unload" in found["unloaded"][2]
    assert found["index"] == {"a": "UNAVAILABLE", "b": "READY", "both": "UNAVAILABLE"}
    assert found["loaded"] == [True, "(1, 3)", "(1, 3)"]
    await board.server.aclose()
