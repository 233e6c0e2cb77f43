"""A fleet whose windows come in over days: what the tests of the history of drift look at."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlmodel import Session, col, select
from tests.hub.monitoring.test_drift import like_training, shifted, sketch
from tests.simulators.rows import NOON, add_device

from shoal_contract.manifest import Baseline
from shoal_hub.context import HubContext
from shoal_hub.drift_history.counts import Totals, sum_of, totals_of_row, totals_of_window
from shoal_hub.drift_history.retention import Retention
from shoal_hub.drift_history.roll_up import RollUp
from shoal_hub.drift_history.settings import HistorySettings
from shoal_hub.drift_history.tables import DriftPeriod
from shoal_hub.drift_history.watched import Watched, find_watched
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.monitoring.windows import take_window

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SETTINGS = HistorySettings(drift_cohort_tags="site")
RETENTION = Retention.of(SETTINGS)
Rows = np.ndarray[Any, Any]


def add_fleet(hub: HubContext, count: int, **changes: Any) -> list[str]:
    """Add devices."""
    with hub.database.transaction() as session:
        return [add_device(session, **changes).id for _ in range(count)]


def send(hub: HubContext, device: str, of: Baseline, at: datetime, rows: Rows, now: datetime | None = None) -> None:
    """Have a device send the window of a minute that ended at a time, when it ended or later."""
    window = sketch(of, rows, started_at=at - timedelta(minutes=1), ended_at=at)
    with hub.database.transaction() as session:
        take_window(session, device, window, now or at)


def send_days(
    hub: HubContext, devices: Sequence[str], of: Baseline, days: int, drifted_from: int | None = None
) -> None:
    """Have devices send a window at noon and one at three on each of some days from `NOON` on; drifted from one on."""
    for day in range(days):
        for place, device in enumerate(devices):
            for part, hours in enumerate((0, 3)):
                seed = 1000 * day + 10 * place + part
                is_drifted = drifted_from is not None and day >= drifted_from
                rows = shifted(seed) if is_drifted else like_training(seed)
                send(hub, device, of, NOON + day * DAY + hours * HOUR, rows)


def roll_up(hub: HubContext, now: datetime, settings: HistorySettings = SETTINGS) -> int:
    """Merge all windows that are not merged yet, and return how many."""
    merged = 0
    while count := RollUp(hub.database, settings).step(now):
        merged += count
    return merged


def watched_of(session: Session, version: int = 1) -> Watched:
    """Return what the windows are held against."""
    found = find_watched(session, "colours", version)
    assert found is not None
    return found


def periods(session: Session, span: str, scope: str, name: str = "") -> dict[datetime, Totals]:
    """Return the totals of periods by their start."""
    wanted = select(DriftPeriod).where(DriftPeriod.span == span, DriftPeriod.scope == scope, DriftPeriod.name == name)
    watched = watched_of(session)
    return {row.started_at: totals_of_row(row, watched) for row in session.exec(wanted)}


def all_windows(session: Session, device: str | None = None) -> Totals | None:
    """Return what all stored windows come to, of all devices or of one."""
    wanted = select(WindowRow).order_by(col(WindowRow.id))
    if device is not None:
        wanted = wanted.where(WindowRow.device_id == device)
    watched = watched_of(session)
    return sum_of(totals_of_window(row, watched) for row in session.exec(wanted))


def same(first: Totals | None, second: Totals | None) -> bool:
    """Whether two totals are the same, number by number."""
    if first is None or second is None:
        return first is second
    names = ("windows", "requests", "samples", "errors", "labelled", "correct", "embedding")
    return all(getattr(first, one) == getattr(second, one) for one in names) and bool(
        (first.counts == second.counts).all()
    )
