"""Ten thousand connections that only take time: the agent's memory stays, and who asks properly is answered."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import pytest
from tests.agent.serving.conftest import Endpoint, running, served_tiny
from tests.environments import ROOT

from shoal_agent.endpoint import EndpointLimits
from shoal_agent.telemetry import resident_bytes

pytestmark = pytest.mark.anyio
CONNECTIONS = 10_000
FIRST = 2000
"""Enough to have each bound reached once."""
MOST_GROWTH_BYTES = 20_000_000
"""With the client's own; connections that stayed would hold several times that (benchmarks/crowd.py: 1.6 MB)."""
LIMITS = EndpointLimits(max_connections=64, read_timeout_s=1.0, linger_s=0.5)
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}]}


@pytest.fixture
async def bounded() -> AsyncIterator[Endpoint]:
    async with running(limits=LIMITS) as endpoint:
        await endpoint.server.swap("tiny", served_tiny())
        yield endpoint


def _crowd(port: int, count: int) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.simulators.bad_clients", str(port), str(count)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120)
    return dict(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_ten_thousand_bad_connections_are_refused_or_closed_and_good_requests_answered(
    bounded: Endpoint,
) -> None:
    outcomes: dict[str, int] = {}
    asked = 0

    async def crowd() -> None:
        outcomes.update(await anyio.to_thread.run_sync(_crowd, bounded.port, CONNECTIONS))

    assert (await bounded.infer(BODY)).status_code == 200
    await anyio.to_thread.run_sync(_crowd, bounded.port, FIRST)
    before = resident_bytes()
    async with anyio.create_task_group() as group:
        group.start_soon(crowd)
        while not outcomes:
            assert (await bounded.infer(BODY)).status_code == 200
            asked += 1
    assert sum(outcomes.values()) == CONNECTIONS
    allowed = {"closed", "left by itself", "400", "408", "411", "413", "431", "503"}
    assert set(outcomes) <= allowed, outcomes
    assert outcomes["400"] > 100, outcomes
    assert asked > 100
    assert resident_bytes() - before < MOST_GROWTH_BYTES
