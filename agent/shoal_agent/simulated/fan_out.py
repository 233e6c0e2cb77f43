"""Reads retained topics and does nothing with them: what the broker and the receivers take alone."""

from collections.abc import Sequence

import anyio

from shoal_agent.fetch_window import FetchWindow
from shoal_agent.link import Link


async def fan_out(link: Link, topics: Sequence[str], window: int, silence_s: float) -> None:
    """Read each topic once, so many at a time as a transfer does.

    Args:
        link: The device's.
        topics: What to read.
        window: Topics that are under way at a time.
        silence_s: How long one may stay silent.

    Raises:
        FetchError: One stayed silent.
        LinkError: The link is down.
    """
    todo, turns = list(reversed(topics)), FetchWindow(window)

    async def worker() -> None:
        while todo:
            await turns.wait()
            try:
                if todo:
                    await link.read_retained(todo.pop(), silence_s)
                    turns.measured(is_fast=True)
            finally:
                turns.done()

    async with anyio.create_task_group() as group:
        for _ in range(min(window, len(todo))):
            group.start_soon(worker)
