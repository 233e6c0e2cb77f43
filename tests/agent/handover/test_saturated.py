"""Three endpoints in processes of their own, one of them saturated: what it answers late alone is answered in time."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.simulators.lan import enrolled
from tests.simulators.open_load import Outcome, as_they_come

from shoal_contract.desired import DesiredHandover, DesiredSite, HandoverPeer
from shoal_hub.trust.ca import DeviceAuthority

pytestmark = pytest.mark.slow
DELAY_S = 0.05
LOAD = 2.0
"""Requests that come, of those that one device can answer."""
LASTS_S = 6.0
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}]}


class Endpoint:
    """A process with a device's endpoint."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.simulators.slow_endpoint", str(folder), str(DELAY_S)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.about = self.heard()

    @property
    def peer(self) -> HandoverPeer:
        return HandoverPeer(host="127.0.0.1", port=self.about["handover_port"], device=self.about["device"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.about['port']}/v2/models/tiny/infer"

    def heard(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def follow(self, handover: DesiredHandover | None) -> None:
        site = DesiredSite(name="lan", cache=self.about["device"], host="127.0.0.1", port=1, handover=handover)
        assert self.process.stdin is not None
        self.process.stdin.write(site.model_dump_json().encode() + b"\n")
        self.process.stdin.flush()
        assert self.heard() == {"follows": True}

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(20) == 0
        self.process.stdout.close()


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[list[Endpoint]]:
    authority = DeviceAuthority.open(tmp_path / "trust")
    with ExitStack() as stack:
        found = []
        for name in ("kitchen", "garden", "hall"):
            folder = tmp_path / name / "identity"
            enrolled(authority, folder)
            found.append(Endpoint(folder))
            stack.callback(found[-1].close)
        yield found


def load(one: Endpoint, share: float, lasts_s: float = LASTS_S) -> Outcome:
    """Send so many requests, of those that it can answer, as they come."""
    return asyncio.run(as_they_come(one.url, BODY, DELAY_S / share, lasts_s))


def test_with_one_of_three_saturated_p99_stays_within_twice_that_of_no_load(endpoints: list[Endpoint]) -> None:
    busy, *others = endpoints
    unloaded = load(busy, 0.3)
    alone = load(busy, LOAD, lasts_s=3.0)
    for one in endpoints:
        peers = tuple(other.peer for other in endpoints if other is not one)
        one.follow(DesiredHandover(peers=peers, patience_ms=5))
    load(busy, LOAD, lasts_s=1.0)  # connections are made
    loaded = load(busy, LOAD)
    assert {*unloaded.statuses, *loaded.statuses} == {200}
    assert set(loaded.by) == {"here", *(one.about["device"] for one in others)}
    assert alone.p99_s > 4 * unloaded.p99_s, "it is saturated without its neighbours"
    assert loaded.p99_s <= 2 * unloaded.p99_s
