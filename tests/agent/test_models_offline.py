"""What a device does while no hub is there is told once, in order, when one is: the outbox keeps it over restarts."""

from contextlib import closing
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import pytest
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.owner import Owner, under
from tests.agent.test_updater import ALL_STEPS

from shoal_agent.errors import WaitingError
from shoal_agent.hold import Hold
from shoal_agent.models import Models
from shoal_agent.outbox import Outbox
from shoal_agent.reporting import Reporter
from shoal_agent.settings import OutboxSettings
from shoal_agent.updater import DeploymentFailedError
from shoal_contract.reported import Hardware
from shoal_contract.telemetry import DeploymentEvent, Event

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)
HARDWARE = Hardware(kind="generic", model="test", architecture="x86_64", cores=1, memory_bytes=1)


def models_of(device: Device, outbox: Outbox) -> tuple[Models, Reporter]:
    reporter = Reporter(HARDWARE, (), (), "0", lambda: NOON)
    tell = partial(outbox.put_event, now=NOON)
    models = Models(device.folder / "models", lambda _: device.updater, reporter, lambda body: _ignore(tell(body)))
    reporter.models = models.reports
    return models, reporter


def _ignore(_: int) -> None:
    """Take a sequence that nobody asks for."""


def queued(outbox: Outbox) -> list[Event]:
    return [Event.model_validate_json(one.body) for one in outbox.after(0, 100)]


async def test_steps_and_a_way_back_wait_for_the_hub_over_restarts_each_once(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.define("[bad]\nexec = ['/bin/false']\n")
    path = tmp_path / "outbox.sqlite"
    device = Device(tmp_path, conditions=owner.conditions)
    with closing(Outbox(path, OutboxSettings())) as outbox:
        models, _ = models_of(device, outbox)
        await models.convergence("tiny", device.publish(version(1), "dp-1"), (1, 1))()
        wanted = under(device.publish(version(2), "dp-2"), probes=("bad",))
        with pytest.raises(DeploymentFailedError):
            await models.convergence("tiny", wanted, (1, 2))()
    await device.server.aclose()

    again = Device(tmp_path, device.source, conditions=owner.conditions)
    with closing(Outbox(path, OutboxSettings())) as outbox:
        models, reporter = models_of(again, outbox)
        await models.boot()
        for _ in range(3):  # asked again and again, it says nothing new
            with pytest.raises(DeploymentFailedError):
                await models.convergence("tiny", wanted, (1, 2))()
        events = queued(outbox)
        report = reporter.snapshot(1).models["tiny"]
    told = [one.body for one in events if isinstance(one.body, DeploymentEvent)]
    steps = [(body.deployment, step) for body in told for step in body.steps]
    expected = [*ALL_STEPS[:-1], "probe", "roll_back", "fail"]
    assert steps == [*(("dp-1", step) for step in ALL_STEPS), *(("dp-2", step) for step in expected)]
    assert len({one.event_id for one in events}) == len(events)
    assert (report.active.version, report.candidate.version, report.candidate.state) == (1, 2, "bad")  # type: ignore[union-attr]
    await again.server.aclose()


async def test_a_model_that_the_hub_wants_no_more_serves_on_while_its_owner_holds_it(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    device = Device(tmp_path, conditions=owner.conditions)
    with closing(Outbox(tmp_path / "outbox.sqlite", OutboxSettings())) as outbox:
        models, _ = models_of(device, outbox)
        await models.convergence("tiny", device.publish(version(1), "dp-1"), (1, 1))()
        owner.hold = Hold(reason="stocktaking")
        with pytest.raises(WaitingError, match="stocktaking"):
            await models.removal("tiny")()
        assert (device.serves, models.held()) == (1, {"tiny"})
        owner.hold = None
        await models.removal("tiny")()
        assert (device.serves, models.held()) == (None, set())
