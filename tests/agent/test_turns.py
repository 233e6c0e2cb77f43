"""Who is fetched first, where several models wait."""

from pathlib import Path

import anyio
import pytest
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.director import ref_of
from tests.agent.simulators.owner import Owner, under

from shoal_agent.turns import Turns

pytestmark = pytest.mark.anyio


async def test_the_most_urgent_goes_first_and_equals_side_by_side() -> None:
    turns, order = Turns(), list[str]()
    gates = {name: anyio.Event() for name in ("urgent", "low", "also low")}

    async def fetch(name: str, priority: int) -> None:
        async with turns.take(priority):
            order.append(name)
            await gates[name].wait()

    async with anyio.create_task_group() as group:
        group.start_soon(fetch, "urgent", 10)
        await anyio.wait_all_tasks_blocked()
        for name in ("low", "also low"):
            group.start_soon(fetch, name, 0)
        await anyio.wait_all_tasks_blocked()
        assert order == ["urgent"]
        gates["urgent"].set()
        await anyio.wait_all_tasks_blocked()
        assert sorted(order[1:]) == ["also low", "low"]
        gates["low"].set()
        gates["also low"].set()


async def test_who_gives_up_waiting_or_fails_holds_up_nobody() -> None:
    turns = Turns()

    async def fail() -> None:
        async with turns.take(10):
            raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        await fail()
    with anyio.fail_after(1):
        async with turns.take(5), anyio.create_task_group() as group:

            async def wait() -> None:
                async with turns.take(1):
                    raise AssertionError

            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        async with turns.take(0):
            pass


async def test_a_transfer_that_gives_way_to_another_models_rollback_does_not_run_out_of_time(tmp_path: Path) -> None:
    device, rollback = Device(tmp_path), b"of another model"
    await device.converge(device.publish(version(1), "dp-1"))
    device.source.publish(rollback)
    device.source.delay_s = lambda topic: 2.0 if ref_of(rollback).sha256 in topic and "manifest" not in topic else 0.0
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: device.updater.fetcher.fetch(ref_of(rollback), is_urgent=True))
        await anyio.wait_all_tasks_blocked()
        await device.converge(under(device.publish(version(2), "dp-2"), fetch_timeout_s=1.0))
        assert device.blobs.has(ref_of(rollback).sha256), "it has given way"
    assert device.serves == 2
    await device.server.aclose()


async def test_the_way_back_waits_for_no_other_model_s_transfer_nor_for_a_window_to_fetch_in(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    device = Device(tmp_path, conditions=owner.conditions)
    first = device.publish(version(1), "dp-1")
    await device.converge(first)
    await device.converge(device.publish(version(2), "dp-2"))
    async with owner.conditions.turns.take(100):
        with anyio.fail_after(5):
            await device.converge(under(first.model_copy(update={"deployment": "dp-3"}), priority=-1))
        assert device.serves == 1
        with anyio.move_on_after(0.2) as waiting:
            await device.converge(under(device.publish(version(3), "dp-4"), priority=-1))
        assert waiting.cancelled_caught, "what has to travel waits"
        with anyio.fail_after(5):
            back = under(device.publish(version(4), "dp-5"), priority=-1).model_copy(update={"is_urgent": True})
            await device.converge(back)
        assert device.serves == 4, "unless it is a rollback"
    await device.server.aclose()
