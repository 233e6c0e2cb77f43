"""Windows go in the compact form to a hub that has said that it reads it, and to no other."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.agent.test_uplink import Sender

pytestmark = pytest.mark.anyio


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Sender]]:
    made: list[Sender] = []

    def make(**settings: Any) -> Sender:
        made.append(Sender(tmp_path, **settings))
        return made[-1]

    yield make
    for sender in made:
        sender.outbox.close()


def put_windows(sender: Sender, *names: str) -> None:
    for name in names:
        sender.outbox.put("telemetry", "window", json.dumps({"body": {"name": name, "outbox": None}}).encode())


async def say(sender: Sender, sequence: int, *, reads_compact: bool | None) -> None:
    await sender.link.acknowledge(sender.outbox.stream, sequence, reads_compact=reads_compact)
    await anyio.wait_all_tasks_blocked()


async def test_windows_are_compact_once_the_hub_says_that_it_reads_it_and_events_never_are(
    make: Callable[..., Sender],
) -> None:
    sender = make(resend_min_s=60)
    put_windows(sender, "a")
    async with sender.running():
        await sender.link.wait_for(1)
        await say(sender, 1, reads_compact=True)
        put_windows(sender, "b")
        await sender.link.wait_for(2)
        sender.put("c")
        await sender.link.wait_for(3)
    assert sender.link.compact == [False, True, False]


async def test_a_hub_that_says_nothing_of_it_gets_none(make: Callable[..., Sender]) -> None:
    sender = make(resend_min_s=60)
    put_windows(sender, "a")
    async with sender.running():
        await sender.link.wait_for(1)
        await say(sender, 1, reads_compact=None)
        put_windows(sender, "b")
        await sender.link.wait_for(2)
    assert sender.link.compact == [False, False]


async def test_on_another_connection_it_is_to_be_said_again(make: Callable[..., Sender]) -> None:
    sender = make(resend_min_s=60)
    put_windows(sender, "a")
    async with sender.running():
        await sender.link.wait_for(1)
        await say(sender, 1, reads_compact=True)
        put_windows(sender, "b")
        await sender.link.wait_for(2)
        sender.link.disconnect()
        sender.link.connect()
        await sender.link.wait_for(3)
    assert sender.link.compact == [False, True, False]


async def test_a_hub_that_was_replaced_by_an_older_one_gets_what_it_did_not_read_as_json(
    make: Callable[..., Sender],
) -> None:
    sender = make(resend_min_s=0.05)
    put_windows(sender, "a")
    async with sender.running():
        await sender.link.wait_for(1)
        await say(sender, 1, reads_compact=True)
        put_windows(sender, "b")
        await sender.link.wait_for(3)
        assert sender.link.compact[:3] == [False, True, False], "after one silence"
        await say(sender, 2, reads_compact=None)
    assert sender.link.sent[1][1] == sender.link.sent[2][1], "the same message"
