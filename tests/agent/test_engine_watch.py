"""A committed version whose runtime fails again and again gives way, if its self-test says so too."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.owner import Owner
from tests.agent.test_updater import roles
from tests.fixtures import tiny

from shoal_agent.engine_watch import WatchedEngine
from shoal_agent.engines import Array, Engine, EngineError
from shoal_agent.hold import Hold
from shoal_agent.updater import DeploymentFailedError
from shoal_contract.desired import DesiredModel

pytestmark = pytest.mark.anyio


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path, watch_failures=3)


@pytest.fixture
async def device(tmp_path: Path, owner: Owner) -> AsyncIterator[Device]:
    made = Device(tmp_path, conditions=owner.conditions)
    await made.converge(made.publish(version(1), "dp-1"))
    yield made
    await made.server.aclose()


def engine_of(device: Device) -> Engine:
    served = device.server.get("tiny")
    assert served is not None
    return served.engine


def ask(device: Device, times: int, features: Array = tiny.GOLDEN) -> None:
    """Send requests that may fail."""
    engine = engine_of(device)
    for _ in range(times):
        try:
            engine.infer({engine.inputs[0].name: features})
        except EngineError:
            continue


WRONG = np.zeros((1, 1), dtype=np.float32)  # of a width that the runtime refuses


async def test_failures_in_a_row_are_told_once_a_row_and_a_good_answer_begins_anew(
    device: Device, owner: Owner
) -> None:
    ask(device, 2, WRONG)
    ask(device, 1)
    ask(device, 2, WRONG)
    assert owner.failing == []
    ask(device, 1, WRONG)
    assert owner.failing == ["tiny"]
    ask(device, 3, WRONG)
    assert owner.failing == ["tiny", "tiny"]


async def test_a_version_is_watched_for_a_while_only(tmp_path: Path) -> None:
    owner = Owner(tmp_path, watch_failures=1, watch_s=0.0)
    device = Device(tmp_path, conditions=owner.conditions)
    await device.converge(device.publish(version(1), "dp-1"))
    ask(device, 5, WRONG)
    assert owner.failing == []
    await device.server.aclose()


async def test_requests_that_are_wrong_themselves_take_no_version_back(device: Device) -> None:
    await device.converge(device.publish(version(2), "dp-2"))
    ask(device, 3, WRONG)
    device.steps.clear()
    await device.updater.check_engine(device.steps.append)
    assert (device.serves, roles(device), device.told) == (2, (2, 1, None), [])


async def break_engine(device: Device, owner: Owner) -> DesiredModel:
    """Serve version 2, whose runtime then fails on whatever it is asked."""
    wanted = device.publish(version(2), "dp-2")
    await device.converge(wanted)
    device.steps.clear()
    watched = engine_of(device)
    assert isinstance(watched, WatchedEngine)

    def fail(_: Mapping[str, Array]) -> dict[str, Array]:
        raise EngineError("running: out of memory on the accelerator")

    watched._engine.infer = fail  # type: ignore[assignment,method-assign]
    ask(device, 3)
    assert owner.failing == ["tiny"]
    return wanted


async def test_a_runtime_that_fails_takes_the_version_back_and_tells_it(device: Device, owner: Owner) -> None:
    wanted = await break_engine(device, owner)
    with pytest.raises(DeploymentFailedError, match="out of memory") as failed:
        await device.updater.check_engine(device.steps.append)
    assert failed.value.step == "roll_back"
    assert (device.serves, roles(device), device.told) == (1, (1, None, None), ["roll_back", "fail"])
    assert device.steps[0].problem is not None
    assert (device.steps[0].deployment, device.steps[0].version) == ("dp-2", 2)
    report = device.updater.file.slots.to_report()
    assert (report.candidate.version, report.candidate.state) == (2, "bad")  # type: ignore[union-attr]
    with pytest.raises(DeploymentFailedError, match="out of memory"):
        await device.converge(wanted)


async def test_a_device_s_own_way_back_does_not_wait_for_its_owner(device: Device, owner: Owner) -> None:

    await break_engine(device, owner)
    owner.hold = Hold(reason="stocktaking")
    with pytest.raises(DeploymentFailedError):
        await device.updater.check_engine(device.steps.append)
    assert device.serves == 1


async def test_where_nothing_is_before_it_a_failing_version_serves_on(tmp_path: Path, owner: Owner) -> None:
    device = Device(tmp_path / "new", conditions=owner.conditions)
    await break_engine(device, owner)
    await device.updater.check_engine(device.steps.append)
    assert (device.serves, device.told) == (2, [])
    await device.server.aclose()
