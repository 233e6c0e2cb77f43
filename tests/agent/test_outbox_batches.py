"""What of the outbox travels together: all of it, in order, within the bounds, and what is read is what was put."""

import json

from hypothesis import given
from hypothesis import strategies as st

from shoal_agent.outbox import Channel, Queued
from shoal_agent.outbox_batches import sealed, split
from shoal_contract.limits import MAX_BATCH_MESSAGES, MAX_REPORT_BYTES
from shoal_contract.telemetry import OutboxPosition

CHANNELS = st.sampled_from(["event", "telemetry"])
QUEUES = st.lists(st.tuples(CHANNELS, st.integers(0, 60), st.booleans()), max_size=30)


def queued(drawn: list[tuple[Channel, int, bool]]) -> list[Queued]:
    """Return messages of an outbox; now and then one is missing before the next."""
    found, sequence = [], 0
    for channel, size, is_after_gap in drawn:
        sequence += 2 if is_after_gap else 1
        body = json.dumps({"body": {}, "pad": "ü" * size}, ensure_ascii=False).encode()
        place = OutboxPosition(stream="a" * 16, sequence=sequence, oldest=1)
        found.append(Queued(place, channel, "x", body))
    return found


@given(QUEUES, st.integers(1, 8), st.integers(1, 400))
def test_the_parts_are_the_queue_in_order_within_the_bounds(
    drawn: list[tuple[Channel, int, bool]], max_messages: int, max_bytes: int
) -> None:
    waiting = queued(drawn)
    parts = list(split(waiting, max_messages, max_bytes))
    assert [one for part in parts for one in part] == waiting
    for part in parts:
        assert 1 <= len(part) <= max_messages
        assert len(part) == 1 or sum(len(one.body) for one in part) <= max_bytes
        assert len({one.channel for one in part}) == 1
        first = part[0].position.sequence
        assert [one.position.sequence for one in part] == list(range(first, first + len(part)))


@given(QUEUES, st.integers(1, 8))
def test_what_is_read_of_the_parts_is_each_message_under_its_own_place(
    drawn: list[tuple[Channel, int, bool]], max_messages: int
) -> None:
    waiting, read = queued(drawn), []
    for part in split(waiting, max_messages, 10_000):
        channel, payload = sealed(part)
        message = json.loads(payload)
        several = message.get("messages", [message])
        assert channel in ({"events", "windows"} if len(part) > 1 else {"event", "telemetry"})
        first = message.get("outbox") or message["body"]["outbox"]
        read += [(first["sequence"] + index, one["pad"]) for index, one in enumerate(several)]
    assert read == [(one.position.sequence, json.loads(one.body)["pad"]) for one in waiting]


def test_what_would_go_together_is_not_split_without_need() -> None:
    waiting = queued([("event", 1, False)] * 10)
    assert [len(part) for part in split(waiting, 10, 10_000)] == [10]


def test_no_setting_makes_a_batch_that_the_hub_refuses() -> None:
    many, large = queued([("event", 1, False)] * 200), queued([("event", 20_000, False)] * 10)
    assert [len(part) for part in split(many, 1000, 10**9)] == [MAX_BATCH_MESSAGES] * 3 + [8]
    for part in split(large, 1000, 10**9):
        assert len(sealed(part)[1]) <= MAX_REPORT_BYTES
