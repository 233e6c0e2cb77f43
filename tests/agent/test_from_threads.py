"""What threads hand over is worked on in order, within its bound, and no thread ever waits."""

import anyio
import anyio.to_thread
import pytest

from shoal_agent.from_threads import FromThreads

pytestmark = pytest.mark.anyio


async def test_one_more_than_may_wait_is_refused() -> None:
    queue: FromThreads[int] = FromThreads(2)
    assert [queue.put(n) for n in range(3)] == [True, True, False]
    assert queue.is_full


async def test_all_that_waits_is_worked_on_at_one_word() -> None:
    queue: FromThreads[int] = FromThreads(10)
    is_done = anyio.Event()

    async def work(item: int) -> None:
        if item == 2:
            is_done.set()

    for item in range(3):
        queue.put(item)
    async with anyio.create_task_group() as group:
        group.start_soon(queue.each, work)
        with anyio.fail_after(5):
            await is_done.wait()
        group.cancel_scope.cancel()


async def test_each_is_worked_on_in_order_whatever_thread_it_came_from() -> None:
    queue: FromThreads[int] = FromThreads(100)
    done: list[int] = []
    is_done = anyio.Event()

    async def work(item: int) -> None:
        done.append(item)
        if item == 49:
            is_done.set()

    queue.put(0)
    async with anyio.create_task_group() as group:
        group.start_soon(queue.each, work)
        with anyio.fail_after(5):
            for item in range(1, 50):
                assert await anyio.to_thread.run_sync(queue.put, item)
            await is_done.wait()
        group.cancel_scope.cancel()
    assert done == list(range(50))


def test_who_comes_when_the_loop_has_ended_is_refused_and_nothing_is_raised() -> None:
    queue: FromThreads[int] = FromThreads(10)

    async def run() -> None:
        with anyio.move_on_after(0.01):
            await queue.each(lambda _: anyio.lowlevel.checkpoint())

    anyio.run(run)
    assert not queue.put(1)
