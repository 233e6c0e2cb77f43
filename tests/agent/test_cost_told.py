"""The hub is told what a version costs on the device, once, when it has been loaded."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from tests.agent.serving.conftest import served_tiny
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.owner import Owner, under

from shoal_agent.engines import Array, CostMeter, Engine, EngineError, load_version
from shoal_agent.telemetry import resident_bytes
from shoal_contract.manifest import Variant, VersionManifest

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


class _Slow:
    """An engine that takes a while for one sample, and none for more."""

    def __init__(self, engine: Engine, alone_s: float) -> None:
        self.inputs, self.outputs, self.setup, self.close = engine.inputs, engine.outputs, engine.setup, engine.close
        self._engine = engine
        self.is_in_use = False
        self._alone_s = alone_s
        self.is_measured = threading.Event()

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if len(inputs["x"]) == 1:
            self.is_measured.set()
            time.sleep(self._alone_s)
        return self._engine.infer(inputs)


def _load_slow(path: Path, manifest: VersionManifest, variant: Variant) -> Engine:
    return _Slow(load_version(path, manifest, variant), 2.0)


@pytest.mark.parametrize("patience_s", [60.0, 0.5])
async def test_measuring_takes_nothing_of_the_time_for_an_activation(tmp_path: Path, patience_s: float) -> None:
    owner = Owner(tmp_path)
    owner.define("[quick]\nexec = ['/bin/true']\n")
    meter = CostMeter(resident_bytes, patience_s=patience_s)
    device = Device(tmp_path, conditions=owner.conditions, cost_meter=meter, load_engine=_load_slow)
    await device.converge(under(device.publish(version(1), "dp-1"), probes=("quick",), activate_timeout_s=1.5))
    assert (device.serves, device.steps[-1].step) == (1, "commit")
    runs = [one.cost.runs for one in device.steps if one.cost is not None]
    assert runs == ([1] if patience_s > 2 else []), "what does not end is left to itself"
    await device.server.aclose()


async def test_who_is_cancelled_while_it_is_measured_leaves_no_engine_behind(tmp_path: Path) -> None:
    closed, slow = threading.Event(), _Slow(served_tiny().engine, 1.0)
    slow.close = closed.set
    device = Device(tmp_path, cost_meter=CostMeter(resident_bytes), load_engine=lambda *_: slow)
    wanted = device.publish(version(1), "dp-1")
    async with anyio.create_task_group() as group:
        group.start_soon(device.converge, wanted)
        assert await to_thread.run_sync(slow.is_measured.wait, 10.0)
        group.cancel_scope.cancel()
    assert (device.serves, closed.is_set()) == (None, False), "it is in use"
    assert await to_thread.run_sync(closed.wait, 10.0)


def _failing() -> CostMeter:
    """Return a meter whose second reading fails."""
    readings = iter([0])

    def read() -> int:
        for reading in readings:
            return reading
        raise EngineError("no reading")

    return CostMeter(read)


async def test_a_version_that_can_not_be_measured_serves_all_the_same(tmp_path: Path) -> None:
    device = Device(tmp_path, cost_meter=_failing())
    await device.converge(device.publish(version(1), "dp-1"))
    assert device.serves == 1
    assert [one.cost for one in device.steps] == [None] * 5
    await device.server.aclose()
