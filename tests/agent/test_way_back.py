"""A device's own way back from a failing runtime, through its sections: no wish that waits holds it up."""

from collections.abc import AsyncIterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import anyio
import pytest
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.owner import Owner
from tests.agent.test_engine_watch import break_engine
from tests.agent.test_sections import HARDWARE, Ran, done

from shoal_agent.hold import Hold
from shoal_agent.reporting import Reporter
from shoal_agent.sections import Sections
from shoal_contract.desired import DesiredModel

pytestmark = pytest.mark.anyio
KEY = "models/tiny"


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path, watch_failures=3)


@pytest.fixture
async def device(tmp_path: Path, owner: Owner) -> AsyncIterator[Device]:
    made = Device(tmp_path, conditions=owner.conditions)
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
    with anyio.fail_after(5):
        while device.serves != 1:  # noqa: ASYNC110 - the server tells nobody
            await anyio.sleep(0.01)
    await anyio.wait_all_tasks_blocked()
    assert ran.report(KEY) == held, "the wish has not failed: it still waits"
    assert [one.deployment for one in device.steps if one.step == "fail"] == ["dp-2"]
    owner.hold = None
    ran.sections.retry_now()
    await ran.until(KEY, "applied")
    assert device.serves == 3


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
