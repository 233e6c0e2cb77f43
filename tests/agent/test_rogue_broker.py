"""A real agent and a broker that is not its hub's: it says nothing to it, serves on, and tells what to look at."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.simulators.agent_process import AgentProcess
from tests.simulators.broker import listening, running_broker
from tests.simulators.hub import hub_of_one

from shoal_contract import topics
from shoal_hub.broker.access import Revoked
from shoal_hub.database import utc_now
from shoal_hub.mqtt import Message
from shoal_hub.trust import files
from shoal_hub.trust.ca import DeviceAuthority

WAIT_S = 20.0


@contextmanager
def agent_on(folder: Path, **changes: Any) -> Iterator[tuple[AgentProcess, Any]]:
    """Run an agent whose identity is right but for `changes`, and listen to all that devices say to the broker."""
    with (
        running_broker(folder / "rogue") as rogue,
        hub_of_one(rogue) as stand_in,
        listening(rogue.endpoint("hub-spy"), f"{topics.ROOT}/device/#") as spy,
    ):
        agent = AgentProcess(folder / "device", is_quick=True)
        stand_in.enrol(agent.data / "identity", **changes)
        agent.start()
        try:
            yield agent, (spy, stand_in)
        finally:
            agent.close()


def heard(spy: Any) -> list[Any]:
    events = []
    while not spy.events.empty():
        events.append(spy.events.get())
    return [event for event in events if isinstance(event, Message)]


def test_a_broker_with_a_certificate_of_another_authority_hears_nothing(tmp_path: Path) -> None:
    """It even takes the device's certificate: only the agent's own check stands in between."""
    hub = DeviceAuthority.open(tmp_path / "hub")
    with agent_on(tmp_path, ca_pem=hub.certificate_pem) as (agent, (spy, _)):
        agent.wait_for_log("cannot show a certificate of this device's hub")
        assert "SHOAL_PUBLIC_HOST" in agent.log()
        assert heard(spy) == []
        assert agent.ask("/v2/health/live")[0] == 200


@pytest.mark.parametrize("name", ["127.1"])
def test_a_broker_of_the_right_authority_under_a_wrong_name_hears_nothing(name: str, tmp_path: Path) -> None:
    with agent_on(tmp_path, broker_host=name) as (agent, (spy, _)):
        agent.wait_for_log("Hostname mismatch")
        assert heard(spy) == []


def test_the_right_broker_hears_it(tmp_path: Path) -> None:
    """The control: with nothing changed, the same agent speaks."""
    with agent_on(tmp_path) as (_, (spy, stand_in)):
        assert spy.wait_for(Message, WAIT_S).topic.startswith(f"{topics.ROOT}/device/{stand_in.device_id}/up/")


def test_an_agent_whose_certificate_is_revoked_says_what_to_do_and_serves_on(tmp_path: Path) -> None:
    with agent_on(tmp_path) as (agent, (spy, stand_in)):
        spy.wait_for(Message, WAIT_S)
        certificate = files.read_certificate(agent.data / "identity" / "device.pem")
        stand_in.broker.access.write(Revoked({stand_in.device_id}, {certificate.serial_number: utc_now()}), utc_now())
        stand_in.broker.process.stop()
        stand_in.broker.process.ensure()
        agent.wait_for_log("a certificate that is revoked")
        assert f"shoal devices show {stand_in.device_id}" in agent.log()
        assert agent.ask("/v2/health/live")[0] == 200
