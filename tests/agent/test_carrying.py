"""The end of a deployment and the reported state that says the same travel in one message, or each by itself."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.agent.simulators.director import DEVICE
from tests.agent.test_reporting import HARDWARE
from tests.agent.test_uplink import Sender

from shoal_agent.errors import LinkError
from shoal_agent.reporting import Reporter
from shoal_contract import topics
from shoal_contract.carrying import read_report
from shoal_contract.limits import MAX_REPORT_BYTES
from shoal_contract.reported import SectionReport

pytestmark = pytest.mark.anyio
EVENT, EVENTS, REPORTED = (topics.up(DEVICE, one) for one in ("event", "events", "reported"))
LONG_S = 60.0


class Device:
    """An outbox with its uplink, and a reporter that asks it for what a report may carry."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        usual = {"batch_messages": 32, "window": 32, "resend_min_s": LONG_S, "resend_max_s": LONG_S}
        self.sender = Sender(folder, **(usual | settings))
        self.link = self.sender.link
        self.reporter = Reporter(HARDWARE, (), (), "0", lambda: datetime.now(timezone.utc), linger_s=LONG_S)
        self.reporter.carry = self.sender.uplink.carry

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.sender.running(), anyio.create_task_group() as group:
            group.start_soon(self.reporter.publish_changes, self.link)
            await self.link.wait_for(2)  # presence and the first report
            await anyio.wait_all_tasks_blocked()
            self.link.sent.clear()
            yield
            group.cancel_scope.cancel()

    def end(self, *steps: str, linger_s: float = LONG_S) -> None:
        """Tell the last steps of a deployment as the updater does: events, then the section's report."""
        self.sender.put(*steps, linger_s=linger_s)
        self.reporter.touch()

    async def reports(self, count: int) -> list[bytes]:
        """Wait until so many reports have been sent, and return them."""
        while len(found := [payload for topic, payload in self.link.sent if topic == REPORTED]) < count:
            await self.link.wait_for(len(self.link.sent) + 1)
        return found

    def sent(self) -> list[str]:
        return [topic for topic, _ in self.link.sent]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(**settings: Any) -> Device:
        made.append(Device(tmp_path, **settings))
        return made[-1]

    yield make
    for device in made:
        device.sender.outbox.close()


async def test_a_report_takes_along_what_lingers_and_it_is_not_sent_twice(make: Callable[..., Device]) -> None:
    device = make()
    async with device.running():
        device.end("activate", "commit", linger_s=0.1)
        await device.link.wait_for(1)
        await anyio.sleep(0.2)
    assert device.sent() == [REPORTED]
    assert (device.sender.names(), device.link.sequences()) == (["activate", "commit"], [1, 2])


async def test_what_was_carried_waits_for_the_hub_s_word_and_is_sent_again_without_it(
    make: Callable[..., Device],
) -> None:
    device = make(resend_min_s=0.05)
    async with device.running():
        device.end("activate", "commit")
        await device.link.wait_for(2)
        assert device.sent()[:2] == [REPORTED, EVENTS]
        assert device.sender.outbox.depth() == 2
        await device.sender.acknowledge(2)
        await anyio.wait_all_tasks_blocked()
    assert device.sender.outbox.depth() == 0


async def test_an_older_hub_gets_events_by_themselves_as_long_as_the_connection_lasts(
    make: Callable[..., Device],
) -> None:
    device = make(resend_min_s=0.05, resend_max_s=LONG_S)
    async with device.running():
        device.end("commit")
        await device.link.wait_for(2)
        device.end("fail")
        reports = await device.reports(2)
        assert ["carried" in json.loads(one) for one in reports] == [True, False]
        await device.sender.acknowledge(2)
        await anyio.wait_all_tasks_blocked()
        device.end("commit")
        assert "carried" not in json.loads((await device.reports(3))[-1])


async def test_an_end_of_which_no_report_comes_goes_by_itself(make: Callable[..., Device]) -> None:
    device = make()
    async with device.running():
        device.sender.put("commit", linger_s=0.05)
        await device.link.wait_for(1)
    assert device.sent() == [EVENT]


async def test_what_was_carried_over_a_link_that_went_down_is_sent_on_the_next_connection(
    make: Callable[..., Device],
) -> None:
    device = make()
    async with device.running():
        say = device.link.say

        async def fail(*_: object, **__: object) -> None:
            device.link.disconnect()
            raise LinkError("the cable")

        device.link.say = fail  # type: ignore[method-assign]
        device.end("commit")
        await anyio.wait_all_tasks_blocked()
        assert device.link.sent == []
        device.link.say = say  # type: ignore[method-assign]
        device.link.connect()
        await device.link.wait_for_outbox_messages(1)
    assert device.sender.names() == ["commit"]


async def test_windows_that_wait_first_are_not_overtaken(make: Callable[..., Device]) -> None:
    device = make()
    async with device.running():
        device.sender.outbox.put("telemetry", "window", b'{"body": {"outbox": null}}', linger_s=LONG_S)
        device.end("commit")
        await device.link.wait_for(1)
        assert device.sender.names() == []
        device.sender.uplink.notify()
        await device.link.wait_for(3)
    assert device.link.sequences() == [1, 2]


async def test_a_report_with_its_cargo_is_never_larger_than_the_hub_reads(make: Callable[..., Device]) -> None:
    device = make(batch_bytes=MAX_REPORT_BYTES)
    async with device.running():
        for number in range(100):
            device.reporter.section(f"models/{number}", SectionReport(state="applied", deployment="d" * 64))
        device.end(*("x" * 30_000 for _ in range(6)))
        await device.link.wait_for(1)
    payload = dict(device.link.sent)[REPORTED]
    assert len(payload) <= MAX_REPORT_BYTES
    state, carried, _ = read_report(payload)
    assert len(state.sections) == 100
    assert len(list(carried)) == len(json.loads(payload)["carried"]["messages"]) == 3


async def test_a_disk_that_cannot_be_read_costs_the_cargo_and_not_the_report(make: Callable[..., Device]) -> None:
    device = make()
    async with device.running():
        device.sender.put("commit", linger_s=LONG_S)
        device.sender.outbox._database.execute("DROP TABLE messages")
        device.reporter.touch()
        await device.link.wait_for(1)
    assert device.sent() == [REPORTED]
    assert device.sender.names() == []
