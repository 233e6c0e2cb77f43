"""Clients load and unload models where the owner lets them, over HTTP and gRPC; what was unloaded stays so."""

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from tests.agent.compositions.conftest import ensemble
from tests.agent.residency.conftest import BODY, Board, wait_for
from tests.agent.serving.conftest import SeenRequests

from shoal_agent.clock import system_clock
from shoal_agent.endpoint import Address, Listener
from shoal_agent.endpoint.keys import ApiKeys
from shoal_agent.residency import DeviceRepository
from shoal_agent.serving import Inference, create_router
from shoal_agent.settings import MemorySettings

pytestmark = pytest.mark.anyio
SIZES = {"a": 40, "b": 40}
LOAD, UNLOAD = "/v2/repository/models/a/load", "/v2/repository/models/a/unload"


@pytest.fixture
async def board(tmp_path: Path) -> Board:
    made = Board(tmp_path, SIZES, MemorySettings())
    for name in SIZES:
        await made.deploy(name)
    return made


async def test_nobody_controls_what_the_owner_does_not_let_them(board: Board) -> None:
    async with board.endpoint(may_control=False) as client:
        for path in (LOAD, UNLOAD):
            answer = await client.post(path)
            assert (answer.status_code, "--repository-control" in answer.text) == (403, True)
    assert board.loaded() == ("a", "b")
    await board.server.aclose()


async def test_a_model_is_unloaded_and_loaded_again(board: Board) -> None:
    async with board.endpoint() as client:
        assert ((await client.post(UNLOAD)).status_code, board.loaded(), board.taken_bytes) == (200, ("b",), 40)
        answer = await client.post("/v2/models/a/infer", json=BODY)
        assert (answer.status_code, "model 'a' was told to unload" in answer.text) == (503, True)
        index = {one["name"]: one["state"] for one in (await client.post("/v2/repository/index")).json()}
        assert index == {"a": "UNAVAILABLE", "b": "READY"}
        assert (await client.post("/v2/repository/index", json={"ready": True})).json()[0]["name"] == "b"
        assert (await client.post(UNLOAD)).status_code == 200
        assert (await client.post(LOAD)).status_code == 200
        assert (await client.post("/v2/models/a/infer", json=BODY)).status_code == 200
        assert (await client.post(LOAD)).status_code == 200
    assert board.loads == ["a", "b", "a"]
    await board.server.aclose()


async def test_requests_in_flight_are_answered_before_a_model_is_unloaded(board: Board) -> None:
    engine = board.engine("a")
    engine.gate.clear()
    said: list[Any] = []
    async with board.endpoint() as client, anyio.create_task_group() as group:

        async def ask() -> None:
            said.append((await client.post("/v2/models/a/infer", json=BODY)).status_code)

        async def unload() -> None:
            said.append((await client.post(UNLOAD)).json())

        group.start_soon(ask)
        await engine.wait_entered()
        group.start_soon(unload)
        await wait_for(lambda: board.loaded() == ("b",))
        assert (said, engine.closed) == ([], 0)
        engine.gate.set()
    assert sorted(map(str, said)) == ["200", "{}"]
    assert engine.closed == 1
    await board.server.aclose()


async def test_an_unloaded_model_stays_so_after_a_restart_until_a_new_version_comes(board: Board) -> None:
    async with board.endpoint() as client:
        await client.post(UNLOAD)
    again = await board.restart()
    assert (again.loaded(), again.loads) == (("b",), ["b"])
    await again.deploy("a")
    assert again.loaded() == ("b",)
    await again.deploy("a", 2)
    assert again.loaded() == ("a", "b")
    third = await again.restart()
    assert third.loaded() == ("a", "b")
    await third.deploy("a")  # back to the version that was unloaded once, which is not told to be any more
    fourth = await third.restart()
    assert fourth.loaded() == ("a", "b")
    await fourth.server.aclose()


async def test_what_is_not_there_or_is_made_of_others_is_not_loaded(board: Board) -> None:
    async with board.composing(both=ensemble("a", "b")), board.endpoint() as client:
        answer = await client.post("/v2/repository/models/none/load")
        assert (answer.status_code, "it is not on this device" in answer.text) == (404, True)
        for verb in ("load", "unload"):
            answer = await client.post(f"/v2/repository/models/both/{verb}")
            assert (answer.status_code, "it is made of other models" in answer.text) == (409, True)
        await client.post(UNLOAD)
        answer = await client.post("/v2/models/both/infer", json=BODY)
        assert (answer.status_code, "its member 'a' is not served" in answer.text) == (503, True)
        assert (await client.post("/v2/repository/models/both/unload")).status_code == 409
    await board.server.aclose()


async def test_a_web_page_unloads_nothing(board: Board) -> None:
    async with board.endpoint() as client:
        answer = await client.post(UNLOAD, headers={"origin": "http://evil.test"})
        assert (answer.status_code, board.loaded()) == (403, ("a", "b"))
    await board.server.aclose()


async def test_from_the_network_a_key_is_needed(board: Board) -> None:
    keys = ApiKeys(board.folder / "api-keys.json")
    key = keys.create("dashboard", system_clock())
    inference = Inference(board.server, SeenRequests(), on_demand=board.residency)
    router = create_router(inference, (), DeviceRepository(board.server, board.residency))
    async with anyio.create_task_group() as group:
        port = await group.start(Listener(router, authorize=keys.authorize).serve, Address())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert ((await client.post(UNLOAD)).status_code, board.loaded()) == (401, ("a", "b"))
            allowed = await client.post(UNLOAD, headers={"authorization": f"Bearer {key}"})
            assert (allowed.status_code, board.loaded()) == (200, ("b",))
        group.cancel_scope.cancel()
    inference.close()
    await board.server.aclose()


async def test_who_unloads_while_a_model_is_being_loaded_has_the_last_word(board: Board) -> None:
    gate, load = anyio.Event(), board.models.load_again
    await board.residency.unload("a")

    async def slow(name: str) -> None:
        await gate.wait()
        await load(name)

    board.residency.load = slow
    async with anyio.create_task_group() as group:
        group.start_soon(board.residency.reload, "a")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(board.residency.unload, "a")
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert board.loaded() == ("b",)
    again = await board.restart()
    assert again.loaded() == ("b",)
    await again.server.aclose()


async def test_grpc_loads_and_unloads(board: Board) -> None:
    grpc = pytest.importorskip("grpc")
    from shoal_agent.serving.grpc.messages import MESSAGES, SERVICE
    from shoal_agent.serving.grpc.service import serve_grpc

    inference = Inference(board.server, SeenRequests(), on_demand=board.residency)
    for repository in (DeviceRepository(board.server, board.residency), None):
        async with anyio.create_task_group() as group:
            port = await group.start(partial(serve_grpc, repository=repository), inference, 0, 2**20)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

                async def call(verb: str) -> None:
                    kind = MESSAGES[f"RepositoryModel{verb}Response"]
                    ask = channel.unary_unary(
                        f"/{SERVICE}/RepositoryModel{verb}", lambda one: one.SerializeToString(), kind.FromString
                    )
                    await ask(MESSAGES[f"RepositoryModel{verb}Request"](model_name="a"))

                if repository is None:
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call("Unload")
                    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
                else:
                    await call("Unload")
                    assert board.loaded() == ("b",)
                    await call("Load")
                assert board.loaded() == ("a", "b")
            group.cancel_scope.cancel()
    inference.close()
    await board.server.aclose()


async def test_an_unload_whose_client_has_gone_is_remembered(board: Board) -> None:
    engine = board.engine("a")
    engine.gate.clear()
    async with board.endpoint() as client, anyio.create_task_group() as group:
        group.start_soon(partial(client.post, "/v2/models/a/infer", json=BODY))
        await engine.wait_entered()
        with anyio.move_on_after(0.2):
            await board.residency.unload("a")
        engine.gate.set()
    board = await board.restart()
    assert board.loaded() == ("b",)
    await board.server.aclose()
