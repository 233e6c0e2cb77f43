"""Sections run by themselves: a new wish ends the attempt at the old one, and none holds up another."""

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from typing import Any
from unittest import mock

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from shoal_agent.encryption_key import OtherRecipientError
from shoal_agent.errors import AgentError, ArtifactError, DeploymentFailedError, DiskError, FetchError, WaitingError
from shoal_agent.reporting import Reporter
from shoal_agent.sections import Sections
from shoal_contract.desired import DesiredConfig
from shoal_contract.reported import Hardware, SectionReport

pytestmark = pytest.mark.anyio
HARDWARE = Hardware(kind="generic", model="test", architecture="x86_64", cores=1, memory_bytes=1)


def body(number: int) -> DesiredConfig:
    """Return wishes that differ by number."""
    return DesiredConfig(window_requests=number + 10)


class Ran:
    """Sections, and what they reported."""

    def __init__(self, sections: Sections, reporter: Reporter, settled: list[float]) -> None:
        self.sections = sections
        self.reporter = reporter
        self.settled = settled

    def report(self, key: str) -> SectionReport | None:
        return self.reporter.snapshot(1).sections.get(key)

    async def until(self, key: str, state: str | None) -> SectionReport | None:
        with anyio.fail_after(5):
            while (report := self.report(key)) is None or report.state != state:
                if report is None and state is None:
                    return None
                await anyio.sleep(0.001)
        return report


@asynccontextmanager
async def running(retry_min_s: float = 0.01, retry_max_s: float = 0.02) -> AsyncIterator[Ran]:
    reporter = Reporter(HARDWARE, (), (), "0", lambda: datetime.now(timezone.utc))
    settled: list[float] = []
    async with anyio.create_task_group() as group:
        note = lambda: settled.append(time.monotonic())  # noqa: E731
        yield Ran(Sections(group, reporter, retry_min_s, retry_max_s, note), reporter, settled)
        group.cancel_scope.cancel()


async def done() -> None:
    await anyio.lowlevel.checkpoint()


async def test_a_section_is_reported_from_working_to_applied() -> None:
    async with running() as ran:
        gate = anyio.Event()
        ran.sections.want("models/a", body(1), "dp-1", gate.wait)
        assert (await ran.until("models/a", "working")).deployment == "dp-1"  # type: ignore[union-attr]
        gate.set()
        await ran.until("models/a", "applied")


async def test_a_section_whose_key_is_for_another_recipient_is_held_until_the_hub_has_wrapped_again() -> None:
    keys: list[bool] = []

    async def open_key() -> None:
        await anyio.lowlevel.checkpoint()
        if not keys:
            raise OtherRecipientError("opening the key: wrapped for another")

    async with running() as ran:
        ran.sections.want("models/a", body(1), "dp-1", open_key)
        held = await ran.until("models/a", "held")
        assert held is not None
        assert held.problem is not None
        assert held.problem.code == "key_recipient"
        keys.append(True)
        await ran.until("models/a", "applied")


async def test_a_new_wish_ends_the_running_attempt_at_once() -> None:
    ended = anyio.Event()

    async def for_ever() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with running() as ran:
        ran.sections.want("models/a", body(1), "dp-1", for_ever)
        await ran.until("models/a", "working")
        ran.sections.want("models/a", body(2), "dp-2", done)
        assert (await ran.until("models/a", "applied")).deployment == "dp-2"  # type: ignore[union-attr]
        assert ended.is_set()


async def test_a_new_wish_ends_the_wait_before_the_next_attempt() -> None:
    async def missing() -> None:
        raise FetchError("silent")

    async with running(retry_min_s=60, retry_max_s=60) as ran:
        ran.sections.want("models/a", body(1), "dp-1", missing)
        await anyio.wait_all_tasks_blocked()
        ran.sections.want("models/a", body(2), "dp-2", done)
        await ran.until("models/a", "applied")


async def test_a_new_attempt_waits_for_the_thread_of_the_old_one() -> None:
    order: list[str] = []

    def in_thread() -> None:
        time.sleep(0.1)
        order.append("the old one's thread has ended")

    async def old() -> None:
        await anyio.to_thread.run_sync(in_thread)
        await anyio.lowlevel.checkpoint()
        order.append("never")

    async def new() -> None:
        order.append("the new one begins")
        await anyio.lowlevel.checkpoint()

    async with running() as ran:
        ran.sections.want("models/a", body(1), "dp-1", old)
        await ran.until("models/a", "working")
        ran.sections.want("models/a", body(2), "dp-2", new)
        await ran.until("models/a", "applied")
    assert order == ["the old one's thread has ended", "the new one begins"]


async def test_the_same_wish_again_does_not_disturb_the_attempt_nor_repeat_a_failed_one() -> None:
    attempts = 0

    async def fails() -> None:
        nonlocal attempts
        attempts += 1
        raise ArtifactError("does not load")

    async with running() as ran:
        for _ in range(3):
            ran.sections.want("models/a", body(1), "dp-1", fails)
            await ran.until("models/a", "failed")
    assert attempts == 1


async def test_a_failing_section_does_not_hold_up_another() -> None:
    async def fails() -> None:
        raise ArtifactError("does not load", "register another")

    async with running() as ran:
        ran.sections.want("models/hangs", body(1), "", anyio.sleep_forever)
        ran.sections.want("models/fails", body(1), "dp-1", fails)
        ran.sections.want("models/good", body(1), "", done)
        await ran.until("models/good", "applied")
        report = await ran.until("models/fails", "failed")
        assert report is not None
        assert report.problem is not None
        assert (report.problem.message, report.problem.remedy) == ("does not load", "register another")


async def test_a_defect_in_one_section_is_reported_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def defect() -> None:
        raise KeyError("nobody foresaw this")

    async with running() as ran:
        ran.sections.want("models/a", body(1), "dp-1", defect)
        report = await ran.until("models/a", "failed")
        ran.sections.want("models/b", body(1), "", done)
        await ran.until("models/b", "applied")
    assert report is not None
    assert report.problem is not None
    assert "nobody foresaw this" in report.problem.message
    assert "Traceback" in caplog.text


async def test_what_waiting_may_mend_is_tried_again_ever_more_rarely() -> None:
    times: list[float] = []

    async def missing() -> None:
        times.append(time.monotonic())
        if len(times) < 5:
            raise FetchError("silent")

    async with running(retry_min_s=0.02, retry_max_s=0.08) as ran:
        ran.sections.want("models/a", body(1), "dp-1", missing)
        await ran.until("models/a", "applied")
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert len(waits) == 4
    for wait_s, planned_s in zip(waits, (0.02, 0.04, 0.08, 0.08), strict=True):
        assert wait_s >= planned_s / 2


async def test_while_it_waits_a_section_says_what_it_waits_for() -> None:
    async def missing() -> None:
        raise FetchError("chunk 3 is silent")

    async with running(retry_min_s=60) as ran:
        ran.sections.want("models/a", body(1), "dp-1", missing)
        await anyio.wait_all_tasks_blocked()
        report = ran.report("models/a")
    assert report is not None
    assert report.problem is not None
    assert (report.state, report.step, report.problem.message) == ("working", "wait", "chunk 3 is silent")


async def test_a_section_that_is_no_longer_wanted_is_forgotten() -> None:
    async with running() as ran:
        ran.sections.want("models/a", body(1), "dp-1", done)
        await ran.until("models/a", "applied")
        ran.sections.want("models/a", None, "", done)
        await ran.until("models/a", None)
        assert ran.sections.keys("models/") == []
        assert not ran.sections._running
        assert not ran.sections._locks
        ran.sections.want("models/a", body(1), "dp-2", done)
        await ran.until("models/a", "applied")


async def test_settled_is_called_when_the_last_section_has_ended_and_not_before() -> None:
    async with running() as ran:
        gate = anyio.Event()
        ran.sections.want("models/a", body(1), "", gate.wait)
        ran.sections.want("models/b", body(1), "", done)
        await ran.until("models/b", "applied")
        assert ran.settled == []
        gate.set()
        await ran.until("models/a", "applied")
        await anyio.wait_all_tasks_blocked()
        assert len(ran.settled) == 1


@pytest.mark.parametrize(
    ("step", "told"),
    [("veto", ("held", "veto")), ("window", ("held", "window")), ("retry", ("working", "wait"))],
)
async def test_a_section_that_waits_says_for_what_and_looks_again_when_it_is_told_to(
    step: Any, told: tuple[str, str]
) -> None:
    waits = [WaitingError(step, "the owner holds what serves: stocktaking", 3600)]

    async def wait_once() -> None:
        await anyio.lowlevel.checkpoint()
        if waits:
            raise waits.pop()

    async with running() as ran:
        ran.sections.want("models/a", body(1), "dp-1", wait_once)
        await anyio.wait_all_tasks_blocked()
        report = ran.report("models/a")
        assert report is not None
        assert report.problem is not None
        assert (report.state, report.step, report.deployment) == (*told, "dp-1")
        assert "stocktaking" in report.problem.message
        ran.sections.retry_now()
        await ran.until("models/a", "applied")


@pytest.mark.parametrize("error", [WaitingError("veto", "held", 3600), DiskError("full")], ids=["wait", "retry"])
async def test_what_a_section_waits_for_may_come_while_it_still_looks(error: AgentError) -> None:
    looking, come = anyio.Event(), anyio.Event()
    errors = [error]

    async def look() -> None:
        if errors:
            looking.set()
            await come.wait()  # it has seen the world as it was
            raise errors.pop()

    async with running(retry_min_s=3600, retry_max_s=3600) as ran:
        ran.sections.want("models/a", body(1), "dp-1", look)
        await looking.wait()
        ran.sections.retry_now()
        come.set()
        await ran.until("models/a", "applied")


async def test_a_section_that_looks_again_and_waits_on_publishes_nothing_new() -> None:
    looks = anyio.Event()
    waits = [WaitingError("window", "at night", 0.001) for _ in range(20)]

    async def wait_often() -> None:
        await anyio.lowlevel.checkpoint()
        if not waits:
            looks.set()
            await anyio.sleep_forever()
        raise waits.pop()

    async with running() as ran:
        with mock.patch.object(ran.reporter, "touch") as touch:
            ran.sections.want("models/a", body(1), "dp-1", wait_often)
            with anyio.fail_after(5):
                await looks.wait()
        assert touch.call_count == 2, "working, and then held"


async def test_a_section_that_waits_looks_again_after_its_time() -> None:
    waits = [WaitingError("activate_at", "later", 0.01)]

    async def wait_once() -> None:
        await anyio.lowlevel.checkpoint()
        if waits:
            raise waits.pop()

    async with running(retry_min_s=3600, retry_max_s=3600) as ran:
        ran.sections.want("models/a", body(1), "dp-1", wait_once)
        await ran.until("models/a", "applied")


async def test_what_is_applied_up_to_a_step_says_so() -> None:
    async def download() -> str:
        await anyio.lowlevel.checkpoint()
        return "downloaded"

    async with running() as ran:
        ran.sections.want("models/a", body(1), "dp-1", download)
        report = await ran.until("models/a", "applied")
        assert report is not None
        assert report.step == "downloaded"


async def test_a_version_that_went_back_by_itself_fails_its_section_with_that_step() -> None:
    problem = ArtifactError("self-test: differs").to_problem()

    async def go_back() -> None:
        await anyio.lowlevel.checkpoint()
        raise DeploymentFailedError(problem, "roll_back")

    async with running() as ran:
        ran.sections.want("models/a", body(1), "dp-1", done)
        await ran.until("models/a", "applied")
        ran.sections.intervene("models/a", go_back)
        report = await ran.until("models/a", "failed")
        assert report is not None
        assert (report.step, report.deployment, report.problem) == ("roll_back", "dp-1", problem)


async def test_an_intervention_that_has_nothing_to_say_changes_no_report() -> None:
    async with running() as ran:
        ran.sections.want("models/a", body(1), "dp-1", done)
        before = await ran.until("models/a", "applied")
        ran.sections.intervene("models/a", done)
        await anyio.wait_all_tasks_blocked()
        assert ran.report("models/a") == before


async def test_a_defect_in_an_intervention_ends_no_other_section() -> None:
    async def defect() -> None:
        await anyio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async with running() as ran:
        ran.sections.want("models/a", body(1), "dp-1", done)
        await ran.until("models/a", "applied")
        ran.sections.intervene("models/a", defect)
        report = await ran.until("models/a", "failed")
        assert report is not None
        assert report.problem is not None
        assert "defect of the agent" in report.problem.remedy
        ran.sections.want("models/b", body(1), "dp-2", done)
        await ran.until("models/b", "applied")
