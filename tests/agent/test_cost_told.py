"""The hub is told what a version costs on the device, once, when it has been loaded."""

from pathlib import Path

import pytest
from tests.agent.simulators.device import Device, version

from shoal_agent.engines import CostMeter, EngineError
from shoal_agent.telemetry import resident_bytes

pytestmark = pytest.mark.anyio


async def test_what_a_version_costs_is_told_once_with_the_step_after_it_was_loaded(tmp_path: Path) -> None:
    device = Device(tmp_path, cost_meter=CostMeter(resident_bytes))
    wanted = device.publish(version(1), "dp-1")
    await device.converge(wanted)
    told = [(one.step, one.cost) for one in device.steps if one.cost is not None]
    assert [step for step, _ in told] == ["stage"]
    cost = told[0][1]
    assert (cost.sha256, cost.runs) == (version(1).variants[0].sha256, 21)
    assert 0 < cost.latency_p50_ms < 1000
    again = await device.restart(cost_meter=CostMeter(resident_bytes))
    await again.converge(wanted)
    assert [one for one in again.steps if one.cost is not None] == [], "a start measures nothing"
    await again.server.aclose()
    await device.server.aclose()


def _fail() -> float:
    raise EngineError("no batch of one")


async def test_a_version_that_can_not_be_measured_serves_all_the_same(tmp_path: Path) -> None:
    device = Device(tmp_path, cost_meter=CostMeter(resident_bytes, clock_s=_fail))
    await device.converge(device.publish(version(1), "dp-1"))
    assert device.serves == 1
    assert [one.cost for one in device.steps] == [None] * 5
    await device.server.aclose()
