"""The power goes at any operation of an update: the next start serves the old version or the new, and it converges."""

import io
import random
from pathlib import Path

import pytest
from tests.agent.simulators.disk_operations import OUTCOMES, image
from tests.agent.simulators.power_cut_matrix import cut_again, cuts_of, examine, explain, print_matrix
from tests.agent.simulators.updates import UPDATES, Update, record

pytestmark = pytest.mark.anyio
EVERY = 6
"""Of the disks that cuts leave, how many the quick sample passes over for one."""
SEED = 20261128

each_update = pytest.mark.parametrize("update", UPDATES, ids=[update.name for update in UPDATES])


@each_update
async def test_the_recording_of_an_update_is_all_that_it_did_to_the_disk(update: Update, tmp_path: Path) -> None:
    recorded = await record(update, tmp_path / "recorded")
    everything = image(recorded.recording, len(recorded.recording.operations), OUTCOMES[0])
    assert everything == recorded.end
    what_lasts = image(recorded.recording, len(recorded.recording.operations), OUTCOMES[1])
    assert set(what_lasts) >= set(recorded.end), "at the end only deletions wait for a sync"


@each_update
async def test_a_cut_in_a_sample_of_the_matrix_leaves_the_old_version_or_the_new(
    update: Update, tmp_path: Path
) -> None:
    recorded = await record(update, tmp_path / "recorded")
    for number, cut in enumerate(cuts_of(recorded)[::EVERY]):
        verdict = await examine(recorded, cut, tmp_path / str(number))
        assert not verdict.problem, explain(recorded, cut, verdict)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_cut_at_every_point_of_the_matrix_leaves_the_old_version_or_the_new() -> None:
    matrix = await print_matrix(io.StringIO())
    assert matrix.failures == []
    assert matrix.points >= 200
    assert matrix.cuts == matrix.points * len(OUTCOMES)


@pytest.mark.slow
@pytest.mark.timeout(240)
@each_update
async def test_a_second_cut_while_the_first_is_mended_is_no_matter(update: Update, tmp_path: Path) -> None:
    recorded, chance = await record(update, tmp_path / "recorded"), random.Random(SEED)  # noqa: S311 - chooses cuts
    for number, first in enumerate(cuts_of(recorded)):
        second = await cut_again(recorded, first, tmp_path / f"mended-{number}", chance)
        verdict = await examine(recorded, second, tmp_path / f"again-{number}")
        assert not verdict.problem, f"after {first.origins}: {explain(recorded, second, verdict)}"
