"""A real agent under a monthly budget: what does not fit is held and told, a rollback comes, and no kill frees it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub import HubStandIn, hub_stand_in
from tests.simulators.tiny_model import TinyVersion

from shoal_contract.desired import DesiredConfig
from shoal_contract.ledger import LedgerTotals, uplink_bytes
from shoal_contract.telemetry import Heartbeat

PADDING = 300_000
OFTEN = DesiredConfig(heartbeat_s=1, reconnect_jitter_s=0)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    with hub_stand_in(tmp_path / "hub") as stand_in:
        yield stand_in


@pytest.fixture
def agent(hub: HubStandIn, tmp_path: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path / "device", is_quick=True)
    hub.enrol(process.data / "identity")
    yield process.start()
    process.close()


def _roll_out(hub: HubStandIn, version: TinyVersion, deployment: str, budget: int, *, is_urgent: bool = False) -> None:
    hub.publish_artifact(version.file)
    hub.publish_manifest(version.manifest())
    wanted = version.wanted(deployment).model_copy(update={"is_urgent": is_urgent})
    hub.want({"tiny": wanted}, config=OFTEN.model_copy(update={"max_bytes_per_month": budget}))


def _ledgers(hub: HubStandIn) -> list[LedgerTotals]:
    bodies = [one.body for one in hub.telemetry if isinstance(one.body, Heartbeat)]
    return [body.ledger for body in bodies if body.ledger is not None]


def _artifact_bytes(totals: LedgerTotals) -> int:
    of_months = [
        month["artifacts_broker"].received_bytes for month in totals.months.values() if "artifacts_broker" in month
    ]
    return sum(of_months)


def _wait_for_hold(hub: HubStandIn, deployment: str) -> None:
    hub.wait_for_section("models/tiny", "held", deployment)
    assert hub.reported is not None
    problem = hub.reported.sections["models/tiny"].problem
    assert problem is not None
    assert problem.code == "budget"
    assert "are left to spend" in problem.message


def test_what_the_budget_does_not_allow_is_held_until_there_is_more_and_what_travelled_is_told(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    version = TinyVersion(1, padding_bytes=PADDING)
    _roll_out(hub, version, "dp-1", budget=PADDING)
    _wait_for_hold(hub, "dp-1")
    assert agent.serves("tiny") is None

    _roll_out(hub, version, "dp-1", budget=10 * PADDING)
    hub.wait_for_section("models/tiny", "applied", "dp-1")
    hub.wait_until(lambda seen: any(_artifact_bytes(one) > len(version.file) for one in _ledgers(seen)))
    told = _ledgers(hub)
    sent = [sum(uplink_bytes(month) for month in one.months.values()) for one in told]
    assert sent == sorted(sent)
    assert len(version.file) < _artifact_bytes(told[-1]) < 1.2 * len(version.file)


def test_no_kill_frees_the_budget_and_a_rollback_comes_all_the_same(hub: HubStandIn, agent: AgentProcess) -> None:
    first, second = TinyVersion(1, padding_bytes=PADDING), TinyVersion(2, padding_bytes=PADDING)
    budget = int(1.9 * PADDING)
    _roll_out(hub, first, "dp-1", budget)
    hub.wait_for_section("models/tiny", "applied", "dp-1")
    _roll_out(hub, second, "dp-2", budget)
    _wait_for_hold(hub, "dp-2")
    for _ in range(2):
        agent.kill()
        agent.start()
    hub.reported = None
    _wait_for_hold(hub, "dp-2")
    assert agent.serves("tiny") == 1

    urgent = replace(second, number=3)
    _roll_out(hub, urgent, "dp-3", budget, is_urgent=True)
    hub.wait_for_section("models/tiny", "applied", "dp-3")
    assert agent.serves("tiny") == 3
