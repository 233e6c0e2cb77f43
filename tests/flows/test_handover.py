"""Three real agents of one site, one of them saturated: what it can not take in time, the others answer.

How long that takes is measured in tests/agent/handover: here all three share the cores of one machine.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tests.agent.test_site_agents import NO_WAIT, device
from tests.simulators.agent_process import AgentProcess
from tests.simulators.broker import Broker, running_broker
from tests.simulators.hub import HubStandIn
from tests.simulators.open_load import Outcome, as_they_come
from tests.simulators.slow_model import slow_version

from shoal_contract.desired import DesiredHandover, DesiredSite, HandoverPeer
from shoal_hub.broker.ports import free_port

pytestmark = pytest.mark.slow
SLOW = slow_version(layers=600)
ROW = np.linspace(-1, 1, 4, dtype=np.float32).tolist()
BODY = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 4], "data": ROW}]}
PATH = "/v2/models/slow/infer"
LOAD = 1.3
"""Requests that come, of those that one agent can answer."""
LASTS_S = 5.0
NOBODY = f"d-{'a' * 16}"
"""The site's cache: none of these, so that nobody has to listen for that."""


class Member(NamedTuple):
    """An agent, the hub's part for it, and where it takes requests."""

    hub: HubStandIn
    agent: AgentProcess
    port: int

    @property
    def peer(self) -> HandoverPeer:
        return HandoverPeer(host="127.0.0.1", port=self.port, device=self.hub.device_id)

    def follow(self, site: DesiredSite | None) -> None:
        """Have the hub want the model and this site, and wait until the agent has both."""
        self.hub.want({"slow": SLOW.wanted()}, config=NO_WAIT, site=site)
        self.hub.wait_until(lambda seen: seen.reported is not None and seen.reported.generation == seen.generation)
        if site is not None:
            self.hub.wait_for_section("site", "applied")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def members(broker: Broker, tmp_path: Path) -> Iterator[list[Member]]:
    """Three agents of one worker each, which serve a model of some 15 ms."""
    with ExitStack() as stack:
        found = []
        for name in ("kitchen", "garden", "hall"):
            port = free_port()
            options = ("--workers=1", "--warmup-s=0", "--handover-host=127.0.0.1", f"--handover-port={port}")
            found.append(Member(*stack.enter_context(device(broker, tmp_path / name, *options)), port))
        for one in found:
            one.hub.publish_artifact(SLOW.file)
            one.hub.publish_manifest(SLOW.manifest())
            one.hub.want({"slow": SLOW.wanted()}, config=NO_WAIT)
            one.hub.wait_for_section("models/slow", "applied", "dp-1")
        yield found


def load(one: Member, every_s: float) -> Outcome:
    """Send requests as they come."""
    return asyncio.run(as_they_come(one.agent.url + PATH, BODY, every_s, LASTS_S))


def test_what_a_saturated_agent_can_not_take_in_time_the_two_others_answer(members: list[Member]) -> None:
    busy, *others = members
    typical_s = sorted(load(busy, 0.2).took_s)[10]
    for one in members:
        policy = DesiredHandover(peers=tuple(other.peer for other in members if other is not one), patience_ms=5)
        one.follow(DesiredSite(name="lan", cache=NOBODY, host="127.0.0.1", port=1, handover=policy))
    passed = load(busy, typical_s / LOAD)
    assert set(passed.statuses) == {200}
    assert set(passed.by) == {"here", *(one.hub.device_id for one in others)}
    busy.follow(None)
    assert set(load(busy, 0.2).by) == {"here"}
