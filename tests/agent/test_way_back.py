"""A device's own way back from a failing runtime, through its sections: no wish holds it up, waiting or fetching."""

from collections.abc import AsyncIterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import anyio
import pytest
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.owner import Owner
from tests.agent.simulators.retained import RetainedTopics
from tests.agent.test_engine_watch import break_engine
from tests.agent.test_sections import HARDWARE, Ran, done

from shoal_agent.hold import Hold
from shoal_agent.models import Models
from shoal_agent.reporting import Reporter
from shoal_agent.sections import Sections
from shoal_contract.desired import DesiredModel
from shoal_contract.telemetry import DeploymentEvent

pytestmark = pytest.mark.anyio
KEY = "models/tiny"


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path, watch_failures=3)


class SlowTopics(RetainedTopics):
    """A source whose chunks come no more once it is `stalled`, until the event is set."""

    stalled: anyio.Event | None = None
    asked: anyio.Event

    def stall(self) -> None:
        """Let nothing more come."""
        self.stalled, self.asked = anyio.Event(), anyio.Event()

    async def read_retained(self, topic: str, timeout_s: float) -> bytes:
        """Return the topic's message once chunks come again."""
        if self.stalled is not None and not topic.endswith("/manifest"):
            self.asked.set()
            await self.stalled.wait()
        return await super().read_retained(topic, timeout_s)


@pytest.fixture
def source() -> SlowTopics:
    return SlowTopics()


@pytest.fixture
async def device(tmp_path: Path, owner: Owner, source: SlowTopics) -> AsyncIterator[Device]:
    made = Device(tmp_path, source, conditions=owner.conditions)
    await made.converge(made.publish(version(1), "dp-1"))
    yield made
    await made.server.aclose()


@pytest.fixture
async def ran() -> AsyncIterator[Ran]:
    reporter = Reporter(HARDWARE, (), (), "0", lambda: datetime.now(timezone.utc))
    async with anyio.create_task_group() as group:
        yield Ran(Sections(group, reporter, 60, 60), reporter, [])
        group.cancel_scope.cancel()


def want(ran: Ran, device: Device, wanted: DesiredModel) -> None:
    converge = partial(device.updater.converge, wanted, (1, 1), device.steps.append)
    ran.sections.want(KEY, wanted, wanted.deployment, converge)


async def test_a_wish_that_its_owner_holds_does_not_keep_a_failing_version_serving(
    device: Device, owner: Owner, ran: Ran
) -> None:
    await break_engine(device, owner)
    owner.hold = Hold(reason="stocktaking")
    want(ran, device, device.publish(version(3), "dp-3"))
    held = await ran.until(KEY, "held")
    ran.sections.intervene(KEY, partial(device.updater.check_engine, device.steps.append))
    await serving(device, 1, "fail")
    assert ran.report(KEY) == held, "the wish has not failed: it still waits"
    assert [one.deployment for one in device.steps if one.step == "fail"] == ["dp-2"]
    owner.hold = None
    ran.sections.retry_now()
    await ran.until(KEY, "applied")
    assert device.serves == 3


async def serving(device: Device, number: int, step: str = "") -> None:
    """Wait until a version serves and a step was told of; nobody is told of either."""
    with anyio.fail_after(20):
        while device.serves != number or step not in ("", *device.told):  # noqa: ASYNC110 - as above
            await anyio.sleep(0.01)
    await anyio.wait_all_tasks_blocked()


async def stall_amid_version_3(device: Device, owner: Owner, source: SlowTopics, ran: Ran) -> Models:
    """Have version 2 fail while version 3 is on its way, over a link on which nothing comes any more."""
    await break_engine(device, owner)
    told: list[DeploymentEvent] = device.steps
    models = Models(device.folder / "models", lambda _: device.updater, ran.reporter, told.append)
    ran.reporter.models = models.reports
    source.stall()
    wanted = device.publish(version(3), "dp-3")
    ran.sections.want(KEY, wanted, "dp-3", models.convergence("tiny", wanted, (1, 1)))
    with anyio.fail_after(5):
        await source.asked.wait()
    return models


async def test_a_transfer_on_a_silent_link_does_not_keep_a_failing_version_serving(
    device: Device, owner: Owner, source: SlowTopics, ran: Ran
) -> None:
    models = await stall_amid_version_3(device, owner, source, ran)
    fetching = ran.report(KEY)
    ran.sections.intervene(KEY, models.check("tiny"))
    await serving(device, 1, "fail")
    assert fetching is not None
    assert (fetching.step, fetching.deployment) == ("fetch", "dp-3")
    assert ran.report(KEY) == fetching, "the wish has not failed: it is still on its way"
    assert ran.reporter.snapshot(1).models["tiny"].active == device.updater.file.slots.active.to_report()  # type: ignore[union-attr]
    assert [(one.step, one.deployment) for one in device.steps] == [
        ("fetch", "dp-3"), ("roll_back", "dp-2"), ("fail", "dp-2")
    ]  # fmt: skip
    assert source.stalled is not None
    source.stalled.set()
    await ran.until(KEY, "applied")
    assert device.serves == 3
    slots = device.updater.file.slots
    assert slots.previous is not None
    assert slots.previous.version == 1, "the way back of version 3 is the version that is good"


async def test_amid_a_transfer_the_hub_s_rollback_and_the_device_s_own_end_with_the_same_version(
    device: Device, owner: Owner, source: SlowTopics, ran: Ran
) -> None:
    models = await stall_amid_version_3(device, owner, source, ran)
    back = device.publish(version(1), "dp-4").model_copy(update={"is_urgent": True})
    ran.sections.intervene(KEY, models.check("tiny"))
    ran.sections.want(KEY, back, "dp-4", models.convergence("tiny", back, (1, 2)))
    await serving(device, 1)
    report = await ran.until(KEY, "applied")
    assert report is not None
    assert report.deployment == "dp-4"
    assert device.updater._lock.statistics().locked is False


async def test_a_model_that_is_no_longer_wanted_amid_a_transfer_goes_at_once(
    device: Device, owner: Owner, source: SlowTopics, ran: Ran
) -> None:
    models = await stall_amid_version_3(device, owner, source, ran)
    ran.sections.want(KEY, None, "", models.removal("tiny"))
    ran.sections.intervene(KEY, models.check("tiny"))
    await ran.until(KEY, None)
    await anyio.wait_all_tasks_blocked()
    assert device.serves is None
    assert device.updater.file.slots.is_empty()
    assert ran.report(KEY) is None


async def test_while_one_check_runs_no_other_is_begun(ran: Ran) -> None:
    began, gate = list[int](), anyio.Event()

    async def check() -> None:
        began.append(1)
        await gate.wait()

    for _ in range(5):
        ran.sections.intervene(KEY, check)
    await anyio.wait_all_tasks_blocked()
    gate.set()
    await anyio.wait_all_tasks_blocked()
    assert began == [1]
    ran.sections.intervene(KEY, check)
    await anyio.wait_all_tasks_blocked()
    assert began == [1, 1]


async def test_a_section_that_goes_amid_a_check_leaves_nothing_behind(ran: Ran) -> None:
    gate = anyio.Event()
    ran.sections.want(KEY, None, "", done)
    ran.sections.intervene(KEY, gate.wait)
    await ran.until(KEY, None)
    gate.set()
    await anyio.wait_all_tasks_blocked()
    assert not ran.sections._running
    assert not ran.sections._locks
    assert not ran.sections._intervening
