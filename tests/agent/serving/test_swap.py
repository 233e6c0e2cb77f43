"""A swap drops no request: what is in flight ends on the old version, what comes next gets the new one."""

import threading
from dataclasses import replace

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
from tests.agent.serving.conftest import Endpoint, GatedEngine, running, served_tiny

from shoal_agent.serving import ModelServer, ServingSettings

pytestmark = pytest.mark.anyio

BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}]}


def _gated() -> GatedEngine:
    return GatedEngine(served_tiny().engine)


async def test_a_request_in_flight_ends_on_the_old_version_which_then_closes() -> None:
    old = _gated()
    answers: list[str] = []
    async with running() as endpoint, anyio.create_task_group() as group:

        async def ask() -> None:
            answers.append((await endpoint.infer(BODY)).json()["model_version"])

        await endpoint.server.swap("tiny", served_tiny(1, old))
        group.start_soon(ask)
        await old.wait_entered()
        group.start_soon(endpoint.server.swap, "tiny", served_tiny(2))
        await anyio.wait_all_tasks_blocked()
        # The new version answers at once, while the old one still works.
        assert (await endpoint.infer(BODY)).json()["model_version"] == "2"
        assert (answers, old.closed) == ([], 0)
        old.gate.set()
    assert (answers, old.closed) == (["1"], 1)


async def test_an_idle_version_is_closed_before_swap_returns(endpoint: Endpoint) -> None:
    old = _gated()
    await endpoint.server.swap("tiny", served_tiny(2, old))
    await endpoint.server.swap("tiny", None)
    assert old.closed == 1


async def test_the_event_loop_goes_on_while_an_old_version_closes() -> None:
    server, begins, has_turned = ModelServer(), threading.Event(), threading.Event()

    class SlowToClose(GatedEngine):
        def close(self) -> None:
            begins.set()
            self.closed += has_turned.wait(5)

    old = SlowToClose(served_tiny().engine)
    await server.swap("tiny", served_tiny(1, old))
    async with anyio.create_task_group() as group:
        group.start_soon(server.swap, "tiny", None)
        assert await anyio.to_thread.run_sync(begins.wait, 5)
        has_turned.set()
    assert old.closed == 1


async def test_a_swap_that_is_cancelled_while_draining_still_closes_the_old_version() -> None:
    old = _gated()
    async with running() as endpoint, anyio.create_task_group() as group:
        await endpoint.server.swap("tiny", served_tiny(1, old))
        group.start_soon(endpoint.infer, BODY)
        await old.wait_entered()
        with anyio.move_on_after(0.01):
            await endpoint.server.swap("tiny", served_tiny(2))
        served = endpoint.server.get("tiny")
        assert served is not None
        assert (served.version, old.closed) == (2, 0)
        old.gate.set()
    assert old.closed == 1


async def test_no_request_fails_while_versions_change_under_load() -> None:
    statuses: list[int] = []
    async with running() as endpoint:
        await endpoint.server.swap("tiny", served_tiny(1))
        is_done = False

        async def ask() -> None:
            while not is_done:
                statuses.append((await endpoint.infer(BODY)).status_code)

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(ask)
            for version in range(2, 32):
                await endpoint.server.swap("tiny", served_tiny(version))
                await anyio.lowlevel.checkpoint()
            is_done = True
    assert len(statuses) >= 4
    assert set(statuses) == {200}


async def test_a_run_that_does_not_end_holds_no_swap_for_ever_and_its_engine_is_closed_when_it_ends() -> None:
    stuck, server = _gated(), ModelServer(drain_s=0.1)
    await server.swap("tiny", served_tiny(1, stuck))
    with server.borrow("tiny"):
        with anyio.fail_after(5):
            await server.swap("tiny", served_tiny(2))
            await server.aclose()
        assert stuck.closed == 0
    assert stuck.closed == 1


async def test_the_endpoint_stays_responsive_while_every_worker_is_busy() -> None:
    engine = _gated()
    async with running(ServingSettings(workers=2)) as endpoint, anyio.create_task_group() as group:
        await endpoint.server.swap("tiny", served_tiny(1, engine))
        for _ in range(3):
            group.start_soon(endpoint.infer, BODY)
        await engine.wait_entered()
        await engine.wait_entered()
        with anyio.fail_after(5):
            assert (await endpoint.client.get("/v2/health/live")).status_code == 200
        engine.gate.set()


async def test_more_requests_than_may_wait_get_429_and_the_others_are_answered() -> None:
    engine = _gated()
    answers: list[httpx.Response] = []
    async with running(ServingSettings(workers=2, max_waiting=3)) as endpoint:
        await endpoint.server.swap("tiny", served_tiny(1, engine))

        async def ask() -> None:
            answers.append(await endpoint.infer(BODY))
            if len(answers) == 3:  # those that were refused, while the others wait
                engine.gate.set()

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(ask)
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 3
        for refused in answers[:3]:
            assert refused.headers["retry-after"] == "1"
            assert "2 requests run and 3 wait, so that one for 'tiny' is not taken" in refused.json()["error"]
        assert (await endpoint.infer(BODY)).status_code == 200


async def test_a_slow_model_leaves_workers_to_others_and_higher_priorities_go_first() -> None:
    settings = ServingSettings(
        workers=2, in_place_ms=0, most_at_once=(("slow", 1),), priorities=(("first", 5), ("last", -5))
    )
    async with running(settings) as endpoint:
        engines = {name: GatedEngine(served_tiny().engine) for name in ("slow", "first", "last")}
        for name, engine in engines.items():
            await endpoint.server.swap(name, replace(served_tiny(engine=engine), name=name))

        async def ask(name: str) -> None:
            assert (await endpoint.infer(BODY, f"/v2/models/{name}/infer")).status_code == 200

        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(ask, "slow")
            await engines["slow"].wait_entered()
            await endpoint.wait_for_waiting(1)  # its second run waits, though a worker is free
            group.start_soon(ask, "last")
            await engines["last"].wait_entered()
            group.start_soon(ask, "last")
            await endpoint.wait_for_waiting(2)
            group.start_soon(ask, "first")
            await endpoint.wait_for_waiting(3)
            assert not engines["first"].entered.acquire(blocking=False)
            engines["last"].gate.set()
            await engines["first"].wait_entered()  # before the one that came before it
            assert endpoint.inference.workers.load().running == {"slow": 1, "first": 1}
            for engine in engines.values():
                engine.gate.set()
