"""What threads hand over is worked on in order, within its bound, and no thread ever waits."""

import anyio
import anyio.to_thread
import pytest

from shoal_agent.handover import Handover

pytestmark = pytest.mark.anyio


async def test_one_more_than_may_wait_is_refused() -> None:
    handover: Handover[int] = Handover(2)
    assert [handover.put(n) for n in range(3)] == [True, True, False]
    assert handover.is_full


async def test_all_that_waits_is_worked_on_at_one_word() -> None:
    handover: Handover[int] = Handover(10)
    is_done = anyio.Event()

    async def work(item: int) -> None:
        if item == 2:
            is_done.set()

    for item in range(3):
        handover.put(item)
    async with anyio.create_task_group() as group:
        group.start_soon(handover.each, work)
        with anyio.fail_after(5):
            await is_done.wait()
        group.cancel_scope.cancel()


async def test_each_is_worked_on_in_order_whatever_thread_it_came_from() -> None:
    handover: Handover[int] = Handover(100)
    done: list[int] = []
    is_done = anyio.Event()

    async def work(item: int) -> None:
        done.append(item)
        if item == 49:
            is_done.set()

    handover.put(0)
    async with anyio.create_task_group() as group:
        group.start_soon(handover.each, work)
        with anyio.fail_after(5):
            for item in range(1, 50):
                assert await anyio.to_thread.run_sync(handover.put, item)
            await is_done.wait()
        group.cancel_scope.cancel()
    assert done == list(range(50))


def test_who_comes_when_the_loop_has_ended_is_refused_and_nothing_is_raised() -> None:
    handover: Handover[int] = Handover(10)

    async def run() -> None:
        with anyio.move_on_after(0.01):
            await handover.each(lambda _: anyio.lowlevel.checkpoint())

    anyio.run(run)
    assert not handover.put(1)
