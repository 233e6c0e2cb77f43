"""How what waits in the outbox is put into signed messages. Pure.

Messages that follow each other and go the same way travel together, within bounds; one by itself keeps its own form.
"""

import json
from collections.abc import Iterator, Sequence

from shoal_agent.outbox import Queued
from shoal_contract.batch import BATCH_OF, pack
from shoal_contract.device_signature import SignedChannel
from shoal_contract.limits import MAX_BATCH_MESSAGES, MAX_REPORT_BYTES

_MOST_BYTES = MAX_REPORT_BYTES - 1024
"""Of the bodies, so that with what is put around them they are within what the hub reads."""


def split(queued: Sequence[Queued], max_messages: int, max_bytes: int) -> Iterator[Sequence[Queued]]:
    """Yield what waits, in order, in parts that may travel together.

    Args:
        queued: What waits, in order.
        max_messages: Messages in one part; the hub reads no more than `MAX_BATCH_MESSAGES`.
        max_bytes: What the bodies of a part come to, unless there is one alone; it is held to `MAX_REPORT_BYTES`.
    """
    max_messages, max_bytes = min(max_messages, MAX_BATCH_MESSAGES), min(max_bytes, _MOST_BYTES)
    start, size_bytes = 0, 0
    for index, one in enumerate(queued):
        is_full = index - start >= max_messages or size_bytes + len(one.body) > max_bytes
        if index > start and (is_full or not _follows(queued[index - 1], one)):
            yield queued[start:index]
            start, size_bytes = index, 0
        size_bytes += len(one.body)
    if queued:
        yield queued[start:]


def sealed(part: Sequence[Queued]) -> tuple[SignedChannel, bytes]:
    """Return a part as it is sent, places put in, and on which channel."""
    first = part[0]
    if len(part) == 1:
        return first.channel, _with_position(first)
    channel = BATCH_OF[first.channel]
    return channel, pack(first.position, channel, [one.body for one in part])


def _follows(before: Queued, one: Queued) -> bool:
    is_next = one.position.sequence == before.position.sequence + 1 and one.position.stream == before.position.stream
    return is_next and one.channel == before.channel


def _with_position(queued: Queued) -> bytes:
    """Return one message as it is sent: telemetry keeps its position inside the body, an event beside it."""
    message = json.loads(queued.body)
    place = message["body"] if queued.channel == "telemetry" else message
    place["outbox"] = queued.position.model_dump()
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
