"""An older hub, which does not hear several messages in one, gets them one by one, until it acknowledges something."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.agent.simulators.director import DEVICE
from tests.agent.test_uplink import Sender

from shoal_contract import topics

pytestmark = pytest.mark.anyio
ALONE, TOGETHER = topics.up(DEVICE, "event"), topics.up(DEVICE, "events")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Sender]]:
    made: list[Sender] = []

    def make(**settings: Any) -> Sender:
        made.append(Sender(tmp_path, batch_messages=32, **settings))
        return made[-1]

    yield make
    for sender in made:
        sender.outbox.close()


def sent_to(sender: Sender) -> list[str]:
    return [topic for topic, _ in sender.link.sent]


async def test_a_hub_that_acknowledges_no_batch_twice_gets_one_message_after_another(
    make: Callable[..., Sender],
) -> None:
    sender = make(resend_min_s=0.05)
    sender.put("a", "b", "c")
    async with sender.running():
        await sender.link.wait_for(5)
        assert sent_to(sender)[:5] == [TOGETHER, TOGETHER, ALONE, ALONE, ALONE]
        await sender.acknowledge(3)
        await anyio.wait_all_tasks_blocked()
    assert sender.outbox.depth() == 0


async def test_once_the_hub_has_acknowledged_something_messages_travel_together_again(
    make: Callable[..., Sender],
) -> None:
    sender = make(resend_min_s=0.05)
    sender.put("a", "b")
    async with sender.running():
        await sender.link.wait_for(4)
        await sender.acknowledge(2)
        await anyio.wait_all_tasks_blocked()
        before = len(sender.link.sent)
        sender.put("c", "d")
        await sender.link.wait_for(before + 1)
    assert (sent_to(sender)[2:4], sent_to(sender)[before]) == ([ALONE, ALONE], TOGETHER)


async def test_what_a_broker_does_not_let_through_together_is_sent_one_by_one(make: Callable[..., Sender]) -> None:
    sender = make(resend_min_s=0.05)
    sender.link.forbidden = {TOGETHER}
    sender.put("a", "b")
    async with sender.running():
        await sender.link.wait_for(2)
    assert sent_to(sender)[:2] == [ALONE, ALONE]


async def test_a_link_that_goes_down_amid_a_batch_is_no_refusal(make: Callable[..., Sender]) -> None:
    sender = make(resend_min_s=60)
    say, failures = sender.link.say, iter([True])

    async def go_down(channel: Any, message: bytes, **more: Any) -> None:
        if next(failures, False):
            sender.link.disconnect()
        await say(channel, message, **more)

    sender.link.say = go_down  # type: ignore[method-assign,assignment]
    sender.put("a", "b")
    async with sender.running():
        await anyio.wait_all_tasks_blocked()
        assert sender.link.sent == []
        sender.link.connect()
        await sender.link.wait_for(1)
    assert sent_to(sender) == [TOGETHER]
