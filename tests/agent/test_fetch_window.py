"""How many chunks are under way: one at first, more while they are fast, in bursts; a turn is never lost."""

from itertools import pairwise

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.fetch_window import FetchWindow

pytestmark = pytest.mark.anyio


async def settled() -> None:
    """Let whatever can go on do so; nothing here waits for more than the next turns of the event loop."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


class Transfer:
    """Workers that each take a turn for every chunk; a chunk is under way until it is let come."""

    def __init__(self, most: int, chunks: int) -> None:
        self.window = FetchWindow(most)
        self.left = chunks
        self.under_way: list[anyio.Event] = []
        self.is_fast = True

    async def work(self) -> None:
        while self.left:
            await self.window.wait()
            try:
                if self.left:
                    self.left -= 1
                    self.under_way.append(anyio.Event())
                    await self.under_way[-1].wait()
                    self.window.measured(is_fast=self.is_fast)
            finally:
                self.window.done()

    async def come(self, count: int, *, is_fast: bool = True) -> int:
        """Let the oldest chunks come, and return how many are under way then."""
        self.is_fast = is_fast
        for _ in range(count):
            self.under_way.pop(0).set()
            await settled()
        return len(self.under_way)


async def test_more_and_more_chunks_are_under_way_up_to_the_bound_and_one_where_they_are_slow() -> None:
    transfer = Transfer(most=8, chunks=200)
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(transfer.work)
        await settled()
        counts = [len(transfer.under_way)]
        counts += [await transfer.come(counts[-1]) for _ in range(2)]
        assert counts[:2] == [1, 2]
        assert counts[2] > 2
        counts = [await transfer.come(1) for _ in range(40)]
        assert 7 <= max(counts) <= 8
        for _ in range(10):
            await transfer.come(1, is_fast=False)
        assert [await transfer.come(1, is_fast=False) for _ in range(5)] == [1] * 5
        group.cancel_scope.cancel()


async def test_a_fast_transfer_asks_for_several_chunks_at_a_time_before_the_last_has_come() -> None:
    transfer = Transfer(most=8, chunks=200)
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(transfer.work)
        await settled()
        for _ in range(40):
            await transfer.come(1)
        counts = [await transfer.come(1) for _ in range(40)]
        asked = [now - before + 1 for before, now in pairwise(counts)]
        assert {count for count in asked if count} <= {3, 4}
        assert min(counts) >= 4
        group.cancel_scope.cancel()


@given(most=st.integers(1, 8), chunks=st.integers(1, 40), data=st.data())
def test_every_chunk_has_its_turn_however_they_come(most: int, chunks: int, data: st.DataObject) -> None:
    async def run() -> None:
        transfer = Transfer(most, chunks)
        async with anyio.create_task_group() as group:
            for _ in range(min(most, chunks)):
                group.start_soon(transfer.work)
            await settled()
            while transfer.under_way:
                assert len(transfer.under_way) <= most
                count = data.draw(st.integers(1, len(transfer.under_way)))
                await transfer.come(count, is_fast=data.draw(st.booleans()))
        assert transfer.left == 0

    anyio.run(run)


async def test_who_is_cancelled_while_waiting_or_just_let_go_takes_no_turn_with_it() -> None:
    window, went_on = FetchWindow(1), anyio.Event()
    await window.wait()

    async def wait_for_long() -> None:
        await window.wait()
        window.done()

    async def wait_and_tell() -> None:
        await window.wait()
        went_on.set()

    async with anyio.create_task_group() as group:
        scopes = []
        for _ in range(2):
            scopes.append(anyio.CancelScope())
            group.start_soon(_within, scopes[-1], wait_for_long)
        await settled()
        group.start_soon(wait_and_tell)
        await settled()
        scopes[0].cancel()  # it waits
        await settled()
        window.done()
        scopes[1].cancel()  # it has its turn, and has not heard of it
        with anyio.fail_after(5):
            await went_on.wait()


async def _within(scope: anyio.CancelScope, function: object) -> None:
    with scope:
        await function()  # type: ignore[operator]
