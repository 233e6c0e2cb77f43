"""The outbox on its way: in order, a window at a time, again from the oldest until the hub says that it has it."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.agent.simulators.director import DEVICE
from tests.agent.simulators.link import MemoryLink

from shoal_agent.outbox import Outbox
from shoal_agent.settings import OutboxSettings
from shoal_agent.uplink import Uplink
from shoal_agent.uploads import Uploads
from shoal_contract import topics

pytestmark = pytest.mark.anyio


class Sender:
    """An outbox with its uplink on a link in memory."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        usual = {"window": 4, "resend_min_s": 0.05, "resend_max_s": 0.2, "batch_messages": 1}
        bounds = OutboxSettings(**(usual | settings))
        self.link = MemoryLink()
        self.outbox = Outbox(folder / "outbox.sqlite", bounds)
        uploads = Uploads(folder / "uploads", self.outbox, lambda _: None)
        self.uplink = Uplink(self.link, self.outbox, uploads, DEVICE, bounds)  # type: ignore[arg-type]
        self.outbox.on_change = self.uplink.notify

    def put(self, *names: str, linger_s: float = 0.0) -> None:
        for name in names:
            body = json.dumps({"name": name, "outbox": None}).encode()
            self.outbox.put("event", "deployment", body, linger_s=linger_s)

    async def acknowledge(self, sequence: int) -> None:
        await self.link.acknowledge(self.outbox.stream, sequence)

    def names(self) -> list[str]:
        return [message["name"] for _, message in self.link.outbox_messages()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.uplink.send)
            group.start_soon(self.uplink.take_acknowledgements)
            group.start_soon(self.uplink.notice_connections)
            self.link.connect()
            yield
            group.cancel_scope.cancel()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Sender]]:
    made: list[Sender] = []

    def make(**settings: Any) -> Sender:
        made.append(Sender(tmp_path, **settings))
        return made[-1]

    yield make
    for sender in made:
        sender.outbox.close()


async def test_what_waits_is_sent_in_order_with_its_place(make: Callable[..., Sender]) -> None:
    sender = make()
    sender.put("a", "b")
    async with sender.running():
        sent = await sender.link.wait_for(2)
    assert sender.names() == ["a", "b"]
    assert sent[0][0] == topics.up(DEVICE, "event")
    assert json.loads(sent[1][1])["outbox"] == {"stream": sender.outbox.stream, "sequence": 2, "oldest": 1}


async def test_telemetry_carries_its_place_inside_the_body(make: Callable[..., Sender]) -> None:
    sender = make()
    sender.outbox.put("telemetry", "window", b'{"body": {"outbox": null}}')
    async with sender.running():
        ((topic, payload),) = await sender.link.wait_for(1)
    assert topic == topics.up(DEVICE, "telemetry")
    assert json.loads(payload)["body"]["outbox"]["sequence"] == 1


async def test_what_waits_together_travels_in_one_message_under_the_places_of_each(
    make: Callable[..., Sender],
) -> None:
    sender = make(batch_messages=32, resend_min_s=60)
    sender.put("a", "b", "c")
    async with sender.running():
        ((topic, _),) = await sender.link.wait_for(1)
        await anyio.wait_all_tasks_blocked()
    assert topic == topics.up(DEVICE, "events")
    assert (sender.names(), sender.link.sequences()) == (list("abc"), [1, 2, 3])


async def test_a_step_lingers_and_what_cannot_wait_takes_it_along_at_once(make: Callable[..., Sender]) -> None:
    sender = make(batch_messages=32, window=32, resend_min_s=60)
    async with sender.running():
        await anyio.wait_all_tasks_blocked()  # what waits at a connection is sent without lingering
        sender.put("fetch", "stage", linger_s=60)
        await anyio.wait_all_tasks_blocked()
        assert sender.link.sent == []
        sender.put("commit")
        await sender.link.wait_for(1)
        await anyio.wait_all_tasks_blocked()
    assert len(sender.link.sent) == 1
    assert sender.names() == ["fetch", "stage", "commit"]


async def test_a_step_that_nothing_follows_goes_after_a_moment_and_with_the_next_connection(
    make: Callable[..., Sender],
) -> None:
    sender = make(batch_messages=32, resend_min_s=60)
    async with sender.running():
        await anyio.wait_all_tasks_blocked()
        started_s = anyio.current_time()
        sender.put("fetch", linger_s=0.1)
        await sender.link.wait_for(1)
        assert anyio.current_time() - started_s >= 0.1
        sender.link.disconnect()
        sender.put("stage", linger_s=60)
        await anyio.wait_all_tasks_blocked()
        sender.link.connect()
        await sender.link.wait_for(2)
    assert sender.names() == ["fetch", "fetch", "stage"]


async def test_what_comes_while_another_is_being_sent_is_not_forgotten(make: Callable[..., Sender]) -> None:
    sender = make(batch_messages=32, window=100, resend_min_s=60)
    async with sender.running():
        for number in range(30):
            sender.put(f"{number}", linger_s=0.05 * (number % 3 > 0))
            await anyio.sleep(0.001)
        await sender.link.wait_for_outbox_messages(30)
    assert sender.names() == [f"{number}" for number in range(30)]
    assert len(sender.link.sent) < 30


async def test_what_lingered_when_the_power_went_is_sent_after_the_restart(make: Callable[..., Sender]) -> None:
    sender = make(batch_messages=32)
    async with sender.running():
        await anyio.wait_all_tasks_blocked()
        sender.put("fetch", "stage", linger_s=60)
        await anyio.wait_all_tasks_blocked()
    assert sender.link.sent == []
    sender.outbox.close()

    again = make(batch_messages=32, resend_min_s=60)
    async with again.running():
        await again.link.wait_for(1)
    assert (again.names(), again.link.sequences()) == (["fetch", "stage"], [1, 2])


async def test_an_acknowledgement_inside_a_batch_has_the_rest_sent_again(make: Callable[..., Sender]) -> None:
    sender = make(batch_messages=32)
    sender.put("a", "b", "c")
    async with sender.running():
        await sender.link.wait_for(1)
        await sender.acknowledge(2)
        await sender.link.wait_for(2)
        assert sender.names() == ["a", "b", "c", "c"]
        assert sender.link.sequences() == [1, 2, 3, 3]


async def test_no_more_than_a_window_is_sent_before_the_hub_acknowledges(make: Callable[..., Sender]) -> None:
    sender = make(resend_min_s=60)
    sender.put(*"abcdefg")
    async with sender.running():
        await sender.link.wait_for(4)
        await anyio.wait_all_tasks_blocked()
        assert sender.names() == list("abcd")
        await sender.acknowledge(2)
        await sender.link.wait_for(6)
        await anyio.wait_all_tasks_blocked()
        assert sender.names() == list("abcdef")


async def test_a_lost_acknowledgement_makes_it_send_again_from_the_oldest(make: Callable[..., Sender]) -> None:
    sender = make()
    sender.put("a", "b", "c")
    async with sender.running():
        await sender.link.wait_for(3)
        await sender.acknowledge(1)
        await sender.link.wait_for(7)
        assert sender.names()[:7] == ["a", "b", "c", "b", "c", "b", "c"]
        assert sender.outbox.depth() == 2  # nothing goes before the hub has said so
        await sender.acknowledge(3)
        await anyio.wait_all_tasks_blocked()
        assert sender.outbox.depth() == 0


async def test_it_sends_again_ever_more_rarely(make: Callable[..., Sender]) -> None:
    sender = make(resend_min_s=0.02, resend_max_s=0.08)
    sender.put("a")
    async with sender.running():
        await anyio.sleep(0.5)
    assert 3 <= len(sender.link.sent) <= 10


async def test_a_new_connection_begins_at_the_oldest(make: Callable[..., Sender]) -> None:
    sender = make(resend_min_s=60)
    sender.put("a", "b")
    async with sender.running():
        await sender.link.wait_for(2)
        sender.link.disconnect()
        sender.put("c")
        await anyio.wait_all_tasks_blocked()
        sender.link.connect()
        await sender.link.wait_for(5)
    assert sender.names() == ["a", "b", "a", "b", "c"]


async def test_a_publication_that_the_link_refuses_is_tried_again_without_anything_new(
    make: Callable[..., Sender],
) -> None:
    sender = make()
    sender.put("a")
    async with sender.running():
        await sender.link.wait_for(1)
        await sender.acknowledge(1)
        await anyio.wait_all_tasks_blocked()
        sender.link.refuses = 1
        sender.put("b")
        await sender.link.wait_for(2)
    assert sender.names()[:2] == ["a", "b"]


async def test_an_acknowledgement_of_another_stream_drops_nothing(make: Callable[..., Sender]) -> None:
    sender = make()
    sender.put("a")
    async with sender.running():
        await sender.link.wait_for(1)
        await sender.link.acknowledge("f" * 16, 1)
        await anyio.wait_all_tasks_blocked()
        assert sender.outbox.depth() == 1


async def test_a_later_outbox_at_the_hub_has_this_one_go_on_as_a_later_one_and_loses_nothing(
    make: Callable[..., Sender], caplog: pytest.LogCaptureFixture
) -> None:
    # The outbox was lost, and this one begun while the clock was behind: the hub takes it for an earlier one.
    sender = make()
    later = f"{int(sender.outbox.stream, 16) + 2**40:016x}"
    sender.put("a")
    async with sender.running():
        await sender.link.wait_for(1)
        await sender.link.acknowledge(later, 7)
        await sender.link.wait_for(2)
        assert json.loads(sender.link.sent[-1][1])["outbox"]["stream"] == sender.outbox.stream > later
        assert sender.outbox.depth() == 1
    assert set(sender.names()) == {"a"}
    assert "goes on as a later one" in caplog.text


async def test_an_acknowledgement_beyond_the_end_begins_another_stream_and_loses_nothing(
    make: Callable[..., Sender], caplog: pytest.LogCaptureFixture
) -> None:
    # The data folder was restored from a copy: the hub has later messages under the sequences that come next here.
    sender = make()
    before = sender.outbox.stream
    sender.put("a")
    async with sender.running():
        await sender.link.wait_for(1)
        await sender.link.acknowledge(before, 9)
        await sender.link.wait_for(2)
        place = json.loads(sender.link.sent[-1][1])["outbox"]
        assert place["stream"] == sender.outbox.stream != before
        sender.put("b")
        await sender.link.wait_for(4)
    assert set(sender.names()) == {"a", "b"}
    assert "older copy" in caplog.text


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b'{"stream": "x", "sequence": 1}'])
async def test_a_malformed_acknowledgement_changes_nothing(make: Callable[..., Sender], payload: bytes) -> None:
    sender = make()
    sender.put("a")
    async with sender.running():
        await sender.link.wait_for(1)
        await sender.link.deliver(topics.down_ack(DEVICE), payload)
        await sender.acknowledge(1)
        await anyio.wait_all_tasks_blocked()
        assert sender.outbox.depth() == 0


async def test_what_was_not_acknowledged_is_sent_after_a_restart(make: Callable[..., Sender]) -> None:
    sender = make(resend_min_s=60)
    sender.put("a", "b")
    async with sender.running():
        await sender.link.wait_for(2)
        await sender.acknowledge(1)
        await anyio.wait_all_tasks_blocked()
    sender.outbox.close()

    again = make(resend_min_s=60)
    again.put("c")
    async with again.running():
        await again.link.wait_for(2)
    assert again.names() == ["b", "c"]
    assert again.link.sequences() == [2, 3]
