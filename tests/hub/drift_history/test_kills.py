"""A process that merges windows is killed at any moment, and another goes on: each window is in the history once."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import numpy as np
import pytest
from sqlmodel import func, select
from tests.hub.drift_history.scene import add_fleet, all_windows, periods, same, send
from tests.hub.monitoring.test_drift import baseline, like_training
from tests.simulators.rows import NOON

from shoal_contract.manifest import Baseline
from shoal_hub.context import HubContext
from shoal_hub.drift_history.counts import sum_of
from shoal_hub.monitoring.tables import WindowRow

__all__ = ["baseline"]
WINDOWS = 150
PROGRAM = """
import sys
from datetime import datetime
from shoal_hub.database import Database
from shoal_hub.drift_history import roll_up
from shoal_hub.drift_history.settings import HistorySettings
roll_up.BATCH = 3
chore = roll_up.RollUp(Database(sys.argv[1]), HistorySettings())
print("begins", flush=True)
while chore.step(datetime.fromisoformat(sys.argv[2])):
    pass
"""


@pytest.mark.slow
@pytest.mark.timeout(600)  # it starts some ten processes of the hub, one after another
def test_windows_are_merged_once_by_processes_that_are_killed(
    hub: HubContext, baseline: Baseline, database_url: str
) -> None:
    devices = add_fleet(hub, 5, group="north")
    for number in range(WINDOWS):
        at = NOON + timedelta(minutes=number * 7)
        send(hub, devices[number % 5], baseline, at, like_training(number, rows=20))
    now = NOON + timedelta(days=2)
    chance = np.random.default_rng(5)
    kills = 0
    while _to_come(hub):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, database_url, now.isoformat()], stdout=subprocess.PIPE, env=os.environ
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            if kills < 8:
                time.sleep(chance.uniform(0.0, 0.25))  # a kill comes at any moment
                process.send_signal(signal.SIGKILL)
                kills += 1
        with hub.database.session() as session:
            merged = sum_of(periods(session, "day", "fleet").values())
            assert (merged.windows if merged else 0) == WINDOWS - _to_come(hub)
    assert kills >= 3
    with hub.database.session() as session:
        for span in ("hour", "day"):
            assert same(sum_of(periods(session, span, "fleet").values()), all_windows(session))
            assert same(sum_of(periods(session, span, "device", devices[0]).values()), all_windows(session, devices[0]))


def _to_come(hub: HubContext) -> int:
    with hub.database.session() as session:
        wanted = select(func.count()).select_from(WindowRow).where(~WindowRow.is_rolled_up)  # type: ignore[operator]
        return session.exec(wanted).one()
