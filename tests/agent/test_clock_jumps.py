"""A board's clock jumps by a year, ahead or back, while it fetches or at its start: what serves goes on serving."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from tests.agent.test_faults import CHUNK, publish_chunk, roll_out, steps, wait_for_problem
from tests.simulators.agent_process import AgentProcess
from tests.simulators.broker import Broker, running_broker
from tests.simulators.hub import HubStandIn, hub_of_one
from tests.simulators.tiny_model import TinyVersion
from tests.simulators.wrong_clock import JumpingClock

YEAR = timedelta(days=365)
NUMBERS = itertools.count(2)
"""Versions, as what one test has published stays at the broker for the next."""
each_way = pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["ahead", "back"])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def hub(broker: Broker) -> Iterator[HubStandIn]:
    with hub_of_one(broker) as stand_in:
        yield stand_in


@pytest.fixture
def clock(tmp_path: Path) -> JumpingClock:
    return JumpingClock(tmp_path / "clock")


@pytest.fixture
def agent(hub: HubStandIn, clock: JumpingClock, tmp_path: Path) -> Iterator[AgentProcess]:
    """A device that goes by the clock, and serves version 1."""
    process = AgentProcess(tmp_path / "data", is_quick=True)
    process.environment = clock.variables
    hub.enrol(process.data / "identity")
    try:
        process.start()
        hub.wait_for_section("models/tiny", "applied", roll_out(hub, TinyVersion(1)))
        yield process
    finally:
        process.close()


def reported_at(hub: HubStandIn) -> datetime:
    assert hub.reported is not None
    return hub.reported.at


@each_way
def test_a_clock_that_jumps_while_a_version_is_fetched_delays_it_at_most_until_it_is_set(
    hub: HubStandIn, agent: AgentProcess, clock: JumpingClock, jump: timedelta
) -> None:
    second = TinyVersion(next(NUMBERS), padding_bytes=6 * CHUNK)
    deployment = roll_out(hub, second, skip=frozenset({3}))
    wait_for_problem(hub, deployment)

    clock.jump(jump)
    if jump > timedelta():  # by this clock all that the hub has signed is over; one that is set back is not believed
        hub.wait_until(lambda seen: reported_at(seen) > datetime.now(timezone.utc) + jump / 2)
        assert agent.serves("tiny") == 1
        agent.wait_for_log("timestamp.json is expired")
        clock.jump(timedelta())
    assert agent.serves("tiny") == 1
    publish_chunk(hub, second.file, 3)

    hub.wait_for_section("models/tiny", "applied", deployment)
    assert agent.serves("tiny") == second.number
    hub.wait_until(lambda seen: steps(seen, deployment)[-1:] == ["commit"])
    assert "fail" not in steps(hub, deployment)
    assert "Traceback" not in agent.log()


@pytest.mark.slow
@each_way
def test_a_start_with_a_clock_that_is_a_year_off_serves_what_served_and_converges_once_it_is_set(
    hub: HubStandIn, agent: AgentProcess, clock: JumpingClock, jump: timedelta
) -> None:
    assert agent.stop() == 0
    clock.jump(jump)
    second = TinyVersion(2)
    deployment = roll_out(hub, second)

    agent.start()

    assert agent.serves("tiny") in {1, 2}
    if jump > timedelta():  # everything that the hub has signed is over by this clock
        agent.wait_for_log("expired")
        assert agent.serves("tiny") == 1
        clock.jump(timedelta())
    hub.wait_for_section("models/tiny", "applied", deployment)
    assert agent.serves("tiny") == 2
    assert "Traceback" not in agent.log()


@pytest.mark.slow
def test_a_clock_that_was_a_year_ahead_at_a_start_leaves_nothing_behind(
    hub: HubStandIn, agent: AgentProcess, clock: JumpingClock
) -> None:
    for error in (YEAR, timedelta()):
        assert agent.stop() == 0, agent.log()[-4000:]
        clock.jump(error)
        agent.start()
        assert agent.serves("tiny") == 1
    hub.wait_for_section("models/tiny", "applied", roll_out(hub, TinyVersion(2)))
    assert agent.serves("tiny") == 2
