"""What two real agents see is merged into the history, though the controller is killed, and explained."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.flows.conftest import MODEL, Fleet, running_fleet

from shoal_client.drift_history import DriftHistory

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
WITHIN_S = 60.0
KILLS = 3


def test_windows_are_merged_once_over_kills_of_the_controller_and_drift_is_explained(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    with running_fleet(tmp_path, SHOAL_DRIFT_ROLL_UP_EVERY_S="1", SHOAL_TICK_S="1") as fleet:
        version = fleet.add_version(tmp_path / "bundle", 0)
        rollout = fleet.client.rollouts.start(MODEL, version, devices=fleet.device_ids, waves=[2])
        fleet.watch(rollout.id, "succeeded")
        for device_id in fleet.device_ids:
            fleet.client.devices.configure(device_id, window_s=1, window_requests=10)
        for turn in range(40):
            usual = random.normal(size=(50, 4)).astype(np.float32)
            fleet.predict(0, usual)
            fleet.predict(1, usual * 0.3 + 1.5 if turn >= 10 else usual)
            if turn % 10 == 5 and turn // 10 < KILLS:
                fleet.hub.kill("controller")
            threading.Event().wait(0.1)
        history = wait_until_all_is_merged(fleet, 2 * 40 * 50)
        assert history.version == version
        [signal] = fleet.client.drift.list(model=MODEL, state="active")[-1:]
        cause = fleet.client.drift.cause(signal.id)
    assert [one.id for one in cause.devices] == [fleet.device_ids[1]]
    assert cause.since is not None
    assert cause.features[0].ks is not None
    assert cause.features[0].ks > 0.5
    assert cause.features[0].histogram is not None
    assert sum(cause.features[0].histogram.after) > 0


def wait_until_all_is_merged(fleet: Fleet, samples: int) -> DriftHistory:
    """Wait until the history holds as many samples as were sent; never does it hold more."""
    deadline_s = time.monotonic() + WITHIN_S
    while True:
        history = fleet.client.drift.history(MODEL)
        merged = sum(one.samples or 0 for one in history.periods)
        assert merged <= samples, "a window was merged twice"
        if merged == samples:
            return history
        assert time.monotonic() < deadline_s, f"{merged} of {samples} samples are merged"
        threading.Event().wait(0.5)
