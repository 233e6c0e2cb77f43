"""A device's endpoint in a process of its own, see `slow_endpoint`, as tests and benchmarks start, ask and end it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.simulators.lan import enrolled
from tests.simulators.open_load import Outcome, as_they_come

from shoal_contract.desired import DesiredHandover, DesiredSite, HandoverPeer
from shoal_hub.trust.ca import DeviceAuthority

DELAY_S = 0.05
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


@contextmanager
def running_endpoints(folder: Path, count: int) -> Iterator[list[Endpoint]]:
    """Run so many devices of one hub."""
    authority = DeviceAuthority.open(folder / "trust")
    with ExitStack() as stack:
        found = []
        for number in range(count):
            identity = folder / str(number) / "identity"
            enrolled(authority, identity)
            found.append(Endpoint(identity))
            stack.callback(found[-1].close)
        yield found


def make_neighbours(endpoints: list[Endpoint], patience_ms: int = 5) -> None:
    """Have each pass requests to the others."""
    for one in endpoints:
        peers = tuple(other.peer for other in endpoints if other is not one)
        one.follow(DesiredHandover(peers=peers, patience_ms=patience_ms))


def load(one: Endpoint, share: float, lasts_s: float) -> Outcome:
    """Send so many requests, of those that it can answer, as they come."""
    return asyncio.run(as_they_come(one.url, BODY, DELAY_S / share, lasts_s))
