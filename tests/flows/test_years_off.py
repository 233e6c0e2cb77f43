"""Devices whose clock has run on for years, or begins in 1970: real hub, broker and agents, and real system clocks.

Time passes by libfaketime, for the hub, its broker and the agents alike, so that OpenSSL and Mosquitto go by it too.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from tests.flows.conftest import MODEL, Fleet
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub_process import HubProcess
from tests.simulators.wrong_clock import clock_off_by

from shoal_agent.clock import MADE_AT
from shoal_agent.enrol import enrol
from shoal_agent.identity import describe
from shoal_hub.settings import Settings

WAIT_S = 60.0
LONGEST_OFF = timedelta(seconds=Settings().certificate_life_s + Settings().renew_grace_s)
"""How long an identity outlives the day on which it was made: the certificate's life and the grace time after it."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A hub with its usual lives and an agent that has enrolled today and serves version 1; then all are stopped."""
    hub = HubProcess(tmp_path / "hub").start()
    agent = AgentProcess(tmp_path / "kitchen", is_quick=True)
    try:
        with hub.client() as client:
            token = client.tokens.create().token
            agent.device_id = enrol(agent.data / "identity", hub.url, token, "kitchen").device_id
            fleet = Fleet(hub, client, [agent.start()])
            fleet.watch(
                fleet.client.rollouts.start(MODEL, fleet.add_version(tmp_path / "first", seed=1)).id, "succeeded"
            )
            assert fleet.add_version(tmp_path / "second", seed=2) == 2
            agent.stop()
            hub.stop()
            hub.close()
            yield fleet
    finally:
        agent.close()
        hub.close()


def wait_until(holds: Callable[[], bool], what: str, agent: AgentProcess) -> None:
    tick, deadline_s = threading.Event(), time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}: {agent.log()[-3000:]}"
        tick.wait(0.1)


def pass_time(fleet: Fleet, days: float) -> None:
    """Set every clock on that a process of this fleet reads from its next start on."""
    fleet.hub.environment |= clock_off_by(timedelta(days=days))
    fleet.agents[0].environment = clock_off_by(timedelta(days=days))


def shoal(fleet: Fleet, *arguments: str) -> Any:
    """Run an operator's command, by the clock of the hub."""
    command = [sys.executable, "-m", "shoal_hub", *arguments, "--json"]
    done = subprocess.run(command, env=fleet.hub.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ends_at(agent: AgentProcess) -> datetime:
    return datetime.fromisoformat(describe(agent.data / "identity")["expires_at"])


def expiries(agent: AgentProcess) -> dict[str, datetime]:
    """Return when each of TUF's metadata that the device has verified ends."""
    folder = agent.data / "trust" / "metadata"
    return {
        role: datetime.fromisoformat(json.loads((folder / f"{role}.json").read_bytes())["signed"]["expires"])
        for role in ("root", "timestamp", "snapshot", "targets")
    }


def test_a_device_that_was_off_for_400_days_serves_at_once_and_then_follows_the_hub_again(fleet: Fleet) -> None:
    (agent,) = fleet.agents
    later = datetime.now(timezone.utc) + timedelta(days=400)
    assert max(ends_at(agent), *expiries(agent).values()) < later, "all that it was given has expired"

    pass_time(fleet, days=400)
    agent.start()
    assert agent.serves(MODEL) == 1, "nobody is reachable"
    fleet.hub.start()
    shoal(fleet, "rollouts", "start", MODEL, "2")

    wait_until(lambda: agent.serves(MODEL) == 2, "it serves what the hub wants now", agent)
    assert ends_at(agent) > later
    assert min(expiries(agent).values()) > later


def test_a_device_that_was_off_for_longer_than_the_grace_time_serves_on_and_says_that_it_has_to_enrol(
    fleet: Fleet,
) -> None:
    (agent,) = fleet.agents
    before = ends_at(agent)
    pass_time(fleet, days=LONGEST_OFF / timedelta(days=1) + 1)
    fleet.hub.start()
    shoal(fleet, "rollouts", "start", MODEL, "2")
    agent.start()

    wait_until(lambda: "SHOAL_RENEW_GRACE_S" in agent.log(), "it says why it is not let back", agent)
    assert "enrol the device again" in agent.log()
    assert (agent.serves(MODEL), ends_at(agent)) == (1, before)


def test_a_device_off_until_the_last_day_of_the_grace_time_comes_back(fleet: Fleet) -> None:
    (agent,) = fleet.agents
    pass_time(fleet, days=LONGEST_OFF / timedelta(days=1) - 1)
    fleet.hub.start()
    shoal(fleet, "rollouts", "start", MODEL, "2")
    agent.start()
    wait_until(lambda: agent.serves(MODEL) == 2, "it serves what the hub wants now", agent)


def test_a_device_that_boots_in_1970_and_never_learns_the_time_follows_the_hub(fleet: Fleet) -> None:
    """OpenSSL and python-tuf both believe that it is 1970: certificates and metadata are of the far future."""
    (agent,) = fleet.agents
    agent.environment = clock_off_by(datetime(1970, 1, 2, tzinfo=timezone.utc) - datetime.now(timezone.utc))
    agent.start()
    assert agent.serves(MODEL) == 1
    fleet.hub.start()
    shoal(fleet, "rollouts", "start", MODEL, "2")
    wait_until(lambda: agent.serves(MODEL) == 2, "it serves what the hub wants now", agent)
    assert "1970-01-02" in agent.log(), "its log goes by the system clock"
    assert min(expiries(agent).values()) > MADE_AT
