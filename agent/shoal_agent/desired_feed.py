"""Desired states as they come, one after the other; one that the disk did not take is taken again."""

import math
from collections.abc import Callable

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream


async def take_each(
    envelopes: MemoryObjectReceiveStream[bytes],
    take: Callable[[bytes], bool],
    *,
    retry_min_s: float,
    retry_max_s: float,
) -> None:
    """Take each state that comes, until no more can; the hub would send it again only after a minute.

    Args:
        envelopes: What comes; an empty one means that the hub has cleared the topic, and the state in force stays.
        take: Returns whether there is nothing left to do for the envelope: false if the disk has failed.
        retry_min_s: How long after a failure it is tried again; the double after each further one.
        retry_max_s: But no longer than this.
    """
    waiting, delay_s = b"", retry_min_s
    while True:
        with anyio.move_on_after(delay_s if waiting else math.inf) as until_again:
            try:
                envelope = await envelopes.receive()
            except anyio.EndOfStream:
                return
            if not envelope:
                continue
            waiting, delay_s = envelope, retry_min_s
        if until_again.cancelled_caught:
            delay_s = min(2 * delay_s, retry_max_s)
        if take(waiting):
            waiting = b""
