"""Hub, broker and devices are killed at random amid rollouts: a small share of what `make kill-matrix` runs."""

import io
from functools import partial
from pathlib import Path

import pytest
from tests.simulators.kills.scene import agent_matrix, simulated_matrix

SEED = 7
FLEETS = {
    "simulated devices": (20, partial(simulated_matrix, models=10, devices=6, processes=2)),
    "agents": (2, partial(agent_matrix, models=2, devices=3)),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fleet", FLEETS)
def test_nothing_is_lost_done_twice_or_wrong_at_rest_with(fleet: str, tmp_path: Path) -> None:
    rollouts, scene = FLEETS[fleet]
    out = io.StringIO()
    with scene(tmp_path, out=out) as matrix:
        matrix.run(SEED, rollouts)
    assert not matrix.sums.problems, out.getvalue()
    assert matrix.sums.rollouts.total() >= rollouts
    assert matrix.sums.kills.total() > 0
    assert matrix.sums.activations > 0
