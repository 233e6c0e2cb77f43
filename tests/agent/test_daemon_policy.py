"""The agent as a real process under a policy, its owner's veto and probes, with a stand-in for the hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.test_cli import call
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub import HubStandIn, hub_stand_in
from tests.simulators.tiny_model import TinyVersion

from shoal_agent.local_endpoint import ask, endpoint_of
from shoal_contract.desired import DesiredModel
from shoal_contract.telemetry import DeploymentEvent
from shoal_contract.update_policy import UpdatePolicy

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    with hub_stand_in(tmp_path / "hub") as stand_in:
        yield stand_in


@pytest.fixture
def agent(hub: HubStandIn, tmp_path: Path) -> Iterator[AgentProcess]:
    probes = tmp_path / "probes.toml"
    probes.write_text(
        "[up]\nexec = ['/bin/sh', '-c', 'exec test \"$SHOAL_VERSION\" -lt 3 -a -n \"$SHOAL_ENDPOINT\"']\n"
    )
    probes.chmod(0o600)
    options = ("--runtime", "onnxruntime", "--time-zone", "Asia/Kolkata", "--probes", str(probes))
    process = AgentProcess(tmp_path / "device", *options)
    hub.enrol(process.data / "identity")
    yield process.start()
    process.close()


def publish(hub: HubStandIn, number: int, deployment: str, policy: UpdatePolicy | None = None) -> DesiredModel:
    version = TinyVersion(number)
    hub.publish_artifact(version.file)
    hub.publish_manifest(version.manifest())
    return version.wanted(deployment).model_copy(update={"policy": policy})


def steps(hub: HubStandIn, deployment: str) -> list[str]:
    bodies = [event.body for event in hub.events if isinstance(event.body, DeploymentEvent)]
    return [step for body in bodies if body.deployment == deployment for step in body.steps]


def test_a_held_device_reports_the_veto_and_goes_on_when_it_is_released(hub: HubStandIn, agent: AgentProcess) -> None:
    hub.want({"tiny": publish(hub, 1, "dp-1")})
    report = hub.wait_for_section("models/tiny", "applied", "dp-1")
    assert report.time_zone == "Asia/Kolkata"
    call("hold", "--data", agent.data, "--reason", "stocktaking")

    hub.want({"tiny": publish(hub, 2, "dp-2", UpdatePolicy(probes=("up",)))})
    held = hub.wait_for_section("models/tiny", "held", "dp-2")
    section, slots = held.sections["models/tiny"], held.models["tiny"]
    assert (section.step, slots.active.version, slots.candidate.version) == ("veto", 1, 2)  # type: ignore[union-attr]
    assert section.problem is not None
    assert "stocktaking" in section.problem.message

    assert "held: stocktaking" in call("status", "--data", agent.data).output
    url = endpoint_of(agent.data)
    assert ask(url, "DELETE", "/shoal/v1/hold") == {"is_held": False, "reason": "", "until": None}
    hub.wait_for_section("models/tiny", "applied", "dp-2")
    hub.wait_until(lambda seen: "commit" in steps(seen, "dp-2"))
    assert steps(hub, "dp-2")[-3:] == ["activate", "probe", "commit"]


def test_a_version_whose_probe_fails_goes_back_and_the_hub_is_told_the_truth(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    hub.want({"tiny": publish(hub, 1, "dp-1")})
    hub.wait_for_section("models/tiny", "applied", "dp-1")
    hub.want({"tiny": publish(hub, 3, "dp-3", UpdatePolicy(probes=("up",)))})
    failed = hub.wait_for_section("models/tiny", "failed", "dp-3")
    section, slots = failed.sections["models/tiny"], failed.models["tiny"]
    assert (section.step, section.problem.code) == ("roll_back", "probe")  # type: ignore[union-attr]
    assert (slots.active.version, slots.candidate.state) == (1, "bad")  # type: ignore[union-attr]
    hub.wait_until(lambda seen: "fail" in steps(seen, "dp-3"))
    assert steps(hub, "dp-3") == ["fetch", "verify", "stage", "activate", "probe", "roll_back", "fail"]
    assert agent.stop() == 0


def test_a_version_that_is_to_be_downloaded_only_is_reported_so(hub: HubStandIn, agent: AgentProcess) -> None:
    hub.want({"tiny": publish(hub, 1, "dp-1", UpdatePolicy(download_only=True))})
    report = hub.wait_for_section("models/tiny", "applied", "dp-1")
    slots = report.models["tiny"]
    assert report.sections["models/tiny"].step == "downloaded"
    assert (slots.active, slots.candidate.version) == (None, 1)  # type: ignore[union-attr]
    hub.want({"tiny": publish(hub, 1, "dp-2")})
    hub.wait_for_section("models/tiny", "applied", "dp-2")
    assert agent.ask("/v2/models/tiny/ready")[0] == 200
