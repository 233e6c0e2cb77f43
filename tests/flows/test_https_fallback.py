"""A version whose file never stands at the broker comes all the same: over HTTPS, and the byte ledger says so."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.flows.conftest import MODEL, Fleet, running_fleet
from tests.flows.test_site_cache import add_large_version
from tests.simulators.agent_process import AgentProcess
from tests.simulators.tcp_proxy import TcpProxy, relaying

from shoal_agent.identity import load_identity
from shoal_agent.slots import SlotFile
from shoal_client.traffic import Traffic

WAIT_S = 60.0


class Narrow(NamedTuple):
    """A hub whose broker may hold a mebibyte, and a device that reaches it by way of a relay that counts."""

    fleet: Fleet
    agent: AgentProcess
    broker: TcpProxy

    def ledger(self, category: str, at_least_bytes: int) -> Traffic:
        """Wait until the hub has been told of so much of a category, and return it."""
        deadline_s = time.monotonic() + WAIT_S
        while True:
            months = self.fleet.client.traffic.months(device=self.agent.device_id)
            told = [one.categories[category] for one in months if category in one.categories]
            received_bytes = sum(one.received_bytes for one in told)
            if received_bytes >= at_least_bytes:
                return Traffic(received_bytes=received_bytes, sent_bytes=sum(one.sent_bytes for one in told))
            assert time.monotonic() < deadline_s, months
            time.sleep(0.1)


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Narrow]:
    with running_fleet(tmp_path, SHOAL_RETAINED_BUDGET_BYTES=str(2**20), SHOAL_DELTA_MIN_BYTES=str(2**26)) as fleet:
        kitchen, _ = fleet.agents
        with relaying(load_identity(kitchen.data / "identity").broker_port) as broker:
            kitchen.stop()
            described = kitchen.data / "identity" / "hub.json"
            described.write_text(json.dumps(json.loads(described.read_text()) | {"broker_port": broker.port}))
            agent = AgentProcess(kitchen.data, is_quick=True)
            agent.device_id = kitchen.device_id
            try:
                yield Narrow(fleet, agent.start(), broker)
            finally:
                agent.close()


@pytest.mark.slow
def test_a_file_about_which_the_broker_is_silent_comes_over_https_and_is_counted_there(
    narrow: Narrow, tmp_path: Path
) -> None:
    narrow.fleet.client.devices.configure(narrow.agent.device_id, heartbeat_s=1)
    number = add_large_version(narrow.fleet, tmp_path / "large", 0, hidden=90_000)
    rollout = narrow.fleet.client.rollouts.start(MODEL, number, devices=[narrow.agent.device_id])
    narrow.fleet.watch(rollout.id, "succeeded")

    assert narrow.agent.serves(MODEL) == number
    active = SlotFile(narrow.agent.data / "models", MODEL).slots.active
    assert active is not None
    size_bytes = (narrow.agent.data / "blobs" / active.file_sha256).stat().st_size
    assert size_bytes > 2**20, "more than the broker may hold"
    assert narrow.broker.down_bytes < size_bytes / 5
    told = narrow.ledger("artifacts_https", size_bytes)
    assert told.received_bytes < 1.1 * size_bytes
