"""Reads retained topics and does nothing with them: what the broker and the receivers take alone."""

import time
from collections.abc import Sequence

import anyio

from shoal_agent.fetch_window import FetchWindow
from shoal_agent.link import Link
from shoal_agent.settings import FetchSettings


async def fan_out(link: Link, topics: Sequence[str], window: int, settings: FetchSettings) -> None:
    """Read each topic once, so many at a time as a transfer does: fewer where they come slowly.

    Args:
        link: The device's.
        topics: What to read.
        window: Topics that are under way at a time.
        settings: What counts as slow, and how long one may stay silent.

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
                    started_s = time.monotonic()
                    await link.read_retained(todo.pop(), settings.silence_s)
                    turns.measured(is_fast=time.monotonic() - started_s < settings.fast_chunk_s)
            finally:
                turns.done()

    async with anyio.create_task_group() as group:
        for _ in range(min(window, len(todo))):
            group.start_soon(worker)
