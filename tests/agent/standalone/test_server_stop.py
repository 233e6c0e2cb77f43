"""A server that stops takes no connection that its workers would not answer."""

import json
import os
import signal
import ssl
from pathlib import Path

import anyio
import pytest

from shoal_agent.blobs import BlobStore
from shoal_agent.standalone.catalogue import Catalogue
from shoal_agent.standalone.plan import WorkerPlan
from shoal_agent.standalone.registry import HubRegistry
from shoal_agent.standalone.server import Server, ServerSettings
from shoal_agent.standalone.site import ServedSite

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def _until(path: Path, *, is_there: bool) -> None:
    while await anyio.Path(path).exists() != is_there:  # noqa: ASYNC110 - nothing tells it
        await anyio.sleep(0.01)


async def test_its_socket_is_gone_before_its_workers_are(tmp_path: Path) -> None:
    registry = HubRegistry("https://127.0.0.1:9", "none", ssl.create_default_context())  # asked for nothing
    catalogue = Catalogue([], registry, BlobStore(tmp_path / "blobs"), [], [], tmp_path / "note.json")
    plan = WorkerPlan(
        number=0,
        data=tmp_path,
        port=0,
        threads=1,
        engine_threads=1,
        request_timeout_s=5,
        socket=tmp_path / "asked",
    )
    server = Server(ServerSettings(look_s=600), plan, catalogue, ServedSite("", registry, tmp_path / "site"))
    note = tmp_path / "run" / "endpoint.json"
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(server.run)
            await _until(note, is_there=True)
            worker = json.loads(note.read_text())["workers"]["1"]
            os.kill(worker, signal.SIGSTOP)  # so that it does not end before it is looked at
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                with anyio.fail_after(5):
                    await _until(tmp_path / "asked", is_there=False)
                os.kill(worker, 0)
            finally:
                os.kill(worker, signal.SIGCONT)
