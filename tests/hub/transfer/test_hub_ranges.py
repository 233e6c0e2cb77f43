"""The agent's reader of ranges at a real hub over HTTPS: a clock that is off stops it not, and a refusal is told."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.hub.served import ServedHub, served_hub

from shoal_agent.clock import Clock, system_clock
from shoal_agent.enrol import enrol
from shoal_agent.errors import FetchError
from shoal_agent.hub_ranges import HubRanges
from shoal_agent.identity import load_identity
from shoal_agent.pairs import Pairs
from shoal_client import ShoalClient
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.ids import sha256_hex
from shoal_contract.ledger import Traffic
from shoal_contract.transfer import parse_transfer_manifest
from shoal_hub.database import utc_now
from shoal_hub.devices.intents import set_intent
from shoal_hub.registry.artifacts import store_artifact

pytestmark = pytest.mark.anyio
DATA = bytes(range(256)) * 2000
REF = ArtifactRef(sha256=sha256_hex(DATA), size_bytes=len(DATA))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedHub]:
    with served_hub(tmp_path) as hub:
        yield hub


def _enrolled(served: ServedHub, folder: Path) -> str:
    with ShoalClient(served.url, served.token, served.ca_path) as client:
        token = client.tokens.create().token
    device_id = enrol(folder / "identity", served.url, token, "kitchen").device_id
    with served.hub.database.transaction() as session:
        store_artifact(session, served.hub.artifacts, DATA)
        body = DesiredModel(version=1, target="t", manifest=REF, deployment="dp-1")
        set_intent(session, device_id, "models/m", kind="rollout", owner="rollout/r-1", body=body, now=utc_now())
    return device_id


@pytest.mark.parametrize("wrong", [timedelta(), timedelta(days=200), timedelta(minutes=-20)])
async def test_a_device_reads_lists_and_ranges_whatever_its_clock_says(
    served: ServedHub, tmp_path: Path, wrong: timedelta
) -> None:
    _enrolled(served, tmp_path)
    identity = replace(load_identity(tmp_path / "identity"), api_url=served.url)
    passed: list[Traffic] = []
    clock = Clock(None, lambda: system_clock() + wrong, made_at=system_clock() - timedelta(days=1))
    ranges = HubRanges(identity, Pairs(identity.folder), clock, passed.append)
    listed = parse_transfer_manifest(await ranges.chunk_list(REF), REF.sha256, REF.size_bytes)
    assert await ranges.read(REF.sha256, 1000, 500_000) == DATA[1000:501_000]
    ranges.close()
    assert listed.chunk_bytes == 128 * 1024
    received = sum(one.received_bytes for one in passed)
    assert 500_000 < received < 1.1 * 500_000 + 10_000


async def test_what_the_hub_refuses_and_its_silence_are_errors_that_waiting_may_mend(
    served: ServedHub, tmp_path: Path
) -> None:
    _enrolled(served, tmp_path)
    identity = replace(load_identity(tmp_path / "identity"), api_url=served.url)
    ranges = HubRanges(identity, Pairs(identity.folder), Clock(None, made_at=system_clock() - timedelta(days=1)))
    with pytest.raises(FetchError, match="does not lead to it"):
        await ranges.read("0" * 64, 0, 10)
    with pytest.raises(FetchError, match="no such range|bytes=FIRST-LAST"):
        await ranges.read(REF.sha256, len(DATA), 10)
    ranges.close()
