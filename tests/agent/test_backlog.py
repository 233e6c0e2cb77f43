"""A backlog is bounded, drops the oldest and counts it, whatever thread puts items in."""

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.backlog import Backlog

pytestmark = pytest.mark.anyio


async def test_the_oldest_are_dropped_and_counted() -> None:
    backlog: Backlog[int] = Backlog(3)
    assert backlog.put(range(2)) == 0
    assert backlog.put(range(2, 5)) == 2
    assert await backlog.take(10) == [2, 3, 4]
    assert (backlog.put_in, backlog.dropped, len(backlog)) == (5, 2, 0)


async def test_who_takes_waits_until_another_thread_puts_something_in() -> None:
    backlog: Backlog[int] = Backlog(10)
    taken: list[int] = []

    async def take() -> None:
        taken.extend(await backlog.take(1))

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        assert taken == []
        await anyio.to_thread.run_sync(backlog.put, [7, 8])
    assert taken == [7]
    assert await backlog.take(5) == [8]


async def test_what_is_put_back_comes_first_again_and_gives_way_to_what_has_come_since() -> None:
    backlog: Backlog[int] = Backlog(4)
    backlog.put(range(4))
    taken = await backlog.take(3)
    backlog.put([4, 5])
    backlog.put_back(taken)
    assert (await backlog.take(9), backlog.dropped) == ([2, 3, 4, 5], 2)


@given(st.lists(st.one_of(st.integers(0, 9), st.none()), max_size=60), st.integers(1, 8))
async def test_it_is_a_queue_that_forgets_its_oldest(steps: list[int | None], most: int) -> None:
    """Numbers put so many items in, None takes all."""
    backlog: Backlog[int] = Backlog(most)
    model: list[int] = []
    count = dropped = 0
    for step in steps:
        if step is None:
            if model:
                assert await backlog.take(most) == model
            model = []
            continue
        new = list(range(count, count + step))
        count += step
        model += new
        dropped += max(len(model) - most, 0)
        model = model[-most:]
        backlog.put(new)
    assert (len(backlog), backlog.dropped, backlog.put_in) == (len(model), dropped, count)
