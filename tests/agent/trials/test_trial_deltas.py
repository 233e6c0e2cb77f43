"""A candidate comes by a delta from the version that serves beside it, which keeps its own file and roles."""

from pathlib import Path

import pytest
from tests.agent.simulators.director import ref_of
from tests.agent.test_deltas import GOOD_PATCH, KINDS, Kind, offer, prepared, travelling
from tests.agent.trials.conftest import trial
from tests.agent.trials.test_trials import Trying

from shoal_contract import topics

pytestmark = pytest.mark.anyio


def whole_chunks(trying: Trying, kind: Kind) -> int:
    """Return how many chunks of the candidate's whole file have travelled."""
    sha256 = ref_of(travelling(2, is_encrypted=kind.new)).sha256
    manifest = topics.artifact_manifest(sha256)
    delivered = trying.device.source.delivered
    return sum(count for topic, count in delivered.items() if sha256 in topic and topic != manifest)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.base}-{kind.new}")
async def test_a_candidate_comes_by_a_delta_from_what_serves(tmp_path: Path, kind: Kind) -> None:
    device, wanted = await prepared(tmp_path, kind)
    offer(device, kind, GOOD_PATCH)
    trying = Trying(device)
    await trying.converge(trial(candidate=wanted))
    assert (trying.tried, device.serves) == (2, 1)
    assert whole_chunks(trying, kind) == 0
    await trying.trials.removal("tiny")()
    device.blobs.collect(device.updater.file.slots.artifacts())
    assert device.blobs.has(ref_of(travelling(1, is_encrypted=kind.base)).sha256), "the base is what serves"
    await device.server.aclose()


async def test_without_a_delta_the_whole_file_comes(tmp_path: Path) -> None:
    device, wanted = await prepared(tmp_path, KINDS[0])
    trying = Trying(device)
    await trying.converge(trial(candidate=wanted))
    assert trying.tried == 2
    assert whole_chunks(trying, KINDS[0]) > 1
    await device.server.aclose()
