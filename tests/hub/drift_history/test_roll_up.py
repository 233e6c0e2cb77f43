"""Windows are merged into hours and days exactly once, whatever happens, on both databases."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import Session, func, select, update
from tests.hub.drift_history.scene import (
    DAY,
    HOUR,
    RETENTION,
    SETTINGS,
    add_fleet,
    all_windows,
    periods,
    roll_up,
    same,
    send,
    send_days,
)
from tests.hub.monitoring.test_drift import baseline, like_training, shifted
from tests.simulators.rows import NOON

from shoal_contract.manifest import Baseline
from shoal_hub.context import HubContext
from shoal_hub.drift_history import plan
from shoal_hub.drift_history import roll_up as module
from shoal_hub.drift_history.counts import sum_of
from shoal_hub.drift_history.prune import HistoryPruner
from shoal_hub.drift_history.roll_up import RollUp
from shoal_hub.drift_history.scores import read_block
from shoal_hub.drift_history.settings import HistorySettings
from shoal_hub.drift_history.tables import DeviceDays, DriftPeriod
from shoal_hub.monitoring.prune import WindowPruner
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.registry.tables import Version

__all__ = ["baseline"]
MIDNIGHT = NOON.replace(hour=0)


def to_come(session: Session) -> int:
    return session.exec(select(func.count()).select_from(WindowRow).where(~WindowRow.is_rolled_up)).one()  # type: ignore[operator]


def test_hours_and_days_of_devices_cohorts_and_the_fleet_are_the_sums_of_their_windows(
    hub: HubContext, baseline: Baseline
) -> None:
    [north] = add_fleet(hub, 1, group="north", tags={"site": "paris", "floor": "2"})
    [south] = add_fleet(hub, 1, group="south", tags={"site": "paris"})
    send_days(hub, [north, south], baseline, 2)
    assert roll_up(hub, NOON + 2 * DAY) == 8
    with hub.database.session() as session:
        whole = all_windows(session)
        for span, count in (("hour", 4), ("day", 2)):
            fleet = periods(session, span, "fleet")
            assert len(fleet) == count
            assert same(sum_of(fleet.values()), whole)
            assert same(sum_of(periods(session, span, "tag", "site=paris").values()), whole)
            for device, group in ((north, "north"), (south, "south")):
                alone = all_windows(session, device)
                assert same(sum_of(periods(session, span, "device", device).values()), alone)
                assert same(sum_of(periods(session, span, "group", group).values()), alone)
        assert periods(session, "day", "tag", "floor=2") == {}
        assert sorted(periods(session, "hour", "fleet")) == [
            NOON + day * DAY + hours * HOUR for day in (0, 1) for hours in (0, 3)
        ]


def test_a_window_is_merged_once_and_late_ones_are_added_to_their_own_time(hub: HubContext, baseline: Baseline) -> None:
    [device] = add_fleet(hub, 1)
    send_days(hub, [device], baseline, 2)
    roll_up(hub, NOON + 2 * DAY)
    assert roll_up(hub, NOON + 2 * DAY) == 0
    send(hub, device, baseline, NOON + 5 * HOUR, shifted(1), now=NOON + 2 * DAY)
    send(hub, device, baseline, NOON + timedelta(minutes=30), like_training(2), now=NOON + 2 * DAY)
    assert roll_up(hub, NOON + 2 * DAY) == 2
    with hub.database.session() as session:
        assert same(sum_of(periods(session, "hour", "device", device).values()), all_windows(session))
        assert same(sum_of(periods(session, "day", "device", device).values()), all_windows(session))
        assert [one.windows for _, one in sorted(periods(session, "hour", "device", device).items())] == [2, 1, 1, 1, 1]
        [first, second] = session.exec(select(DeviceDays).order_by(DeviceDays.started_at)).all()  # type: ignore[arg-type]
        assert (first.revision, second.revision) == (2, 1)
        assert read_block(first).samples.tolist() == [600]


@contextmanager
def ending_at(hub: HubContext, statement: int) -> Iterator[list[int]]:
    """Have the process end, as far as the database can tell, before so many statements of one transaction."""
    seen = [0]

    def count(connection: Any, *_: object) -> None:
        if connection.get_execution_options().get("immediate"):
            seen[0] += 1
            if seen[0] > statement:
                raise KeyboardInterrupt

    event.listen(hub.database.engine, "before_cursor_execute", count)
    event.listen(hub.database._writer, "before_cursor_execute", count)
    try:
        yield seen
    finally:
        event.remove(hub.database.engine, "before_cursor_execute", count)
        event.remove(hub.database._writer, "before_cursor_execute", count)


def test_a_process_that_ends_at_any_point_loses_no_window_and_merges_none_twice(
    hub: HubContext, baseline: Baseline
) -> None:
    devices = add_fleet(hub, 2, group="north")
    send_days(hub, devices, baseline, 1)
    roll_up(hub, NOON + DAY)
    send_days(hub, devices, baseline, 2)  # the first day's are duplicates
    send(hub, devices[0], baseline, NOON + timedelta(minutes=20), like_training(77), now=NOON + DAY)
    ends = 0
    for statement in range(100):
        with hub.database.session() as session:
            before = to_come(session)
        try:
            with ending_at(hub, statement):
                RollUp(hub.database, SETTINGS).step(NOON + 2 * DAY)
        except KeyboardInterrupt:
            ends += 1
            with hub.database.session() as session:
                assert to_come(session) == before, "all of it, or nothing"
            continue
        break
    assert ends >= 5, "there were statements to end at"
    with hub.database.session() as session:
        assert to_come(session) == 0
        for span in ("hour", "day"):
            for scope, name, device in (
                ("fleet", "", None),
                ("group", "north", None),
                ("device", devices[0], devices[0]),
            ):
                assert same(sum_of(periods(session, span, scope, name).values()), all_windows(session, device))


def test_a_second_process_that_merges_the_same_windows_merges_none_of_them(
    hub: HubContext, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    [device] = add_fleet(hub, 1)
    send_days(hub, [device], baseline, 1)
    planned = plan.plan_change

    def slow(*given: Any) -> Any:
        change = planned(*given)
        monkeypatch.setattr(module, "plan_change", planned)
        assert RollUp(hub.database, SETTINGS).step(NOON + DAY) == 2, "the other is quicker"
        return change

    monkeypatch.setattr(module, "plan_change", slow)
    assert RollUp(hub.database, SETTINGS).step(NOON + DAY) == 0
    with hub.database.session() as session:
        assert same(sum_of(periods(session, "day", "fleet").values()), all_windows(session))


def test_other_windows_that_a_second_process_merges_into_the_same_rows_are_not_lost(
    hub: HubContext, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = add_fleet(hub, 2)
    send_days(hub, devices, baseline, 1)
    roll_up(hub, NOON + DAY)
    for seed, device in enumerate(devices):
        send(hub, device, baseline, NOON + timedelta(minutes=5), like_training(50 + seed), now=NOON + DAY)
    planned, due = plan.plan_change, module._due

    def slow(*given: Any) -> Any:
        change = planned(*given)
        monkeypatch.setattr(module, "plan_change", planned)
        monkeypatch.setattr(module, "_due", lambda *args: [row for row in due(*args) if row.device_id == devices[1]])
        assert RollUp(hub.database, SETTINGS).step(NOON + DAY) == 1
        monkeypatch.setattr(module, "_due", due)
        return change

    monkeypatch.setattr(module, "_due", lambda *args: [row for row in due(*args) if row.device_id == devices[0]])
    monkeypatch.setattr(module, "plan_change", slow)
    assert RollUp(hub.database, SETTINGS).step(NOON + DAY) == 0, "it has seen that the fleet's row has changed"
    assert roll_up(hub, NOON + DAY) == 1
    with hub.database.session() as session:
        assert same(sum_of(periods(session, "day", "fleet").values()), all_windows(session))


def test_windows_are_not_deleted_before_they_are_merged(hub: HubContext, baseline: Baseline) -> None:
    [device] = add_fleet(hub, 1)
    send_days(hub, [device], baseline, 1)
    late = NOON + 40 * DAY
    assert WindowPruner(hub.database, 35 * DAY).step(late) == 0
    roll_up(hub, NOON + DAY)
    assert WindowPruner(hub.database, 35 * DAY).step(late) == 2
    with hub.database.session() as session:
        assert sum_of(periods(session, "day", "fleet").values()).samples == 300  # type: ignore[union-attr]


def test_windows_of_a_version_that_there_is_no_more_keep_no_disk_for_ever(hub: HubContext, baseline: Baseline) -> None:
    [device] = add_fleet(hub, 1)
    send_days(hub, [device], baseline, 1)
    with hub.database.transaction() as session:
        session.exec(update(WindowRow).values(version=9))
    assert roll_up(hub, NOON + DAY) == 2
    with hub.database.session() as session:
        assert session.exec(select(DriftPeriod)).all() == []
    assert WindowPruner(hub.database, 35 * DAY).step(NOON + 40 * DAY) == 2


def test_each_scope_is_kept_for_its_time_and_what_is_too_old_is_not_made_anew(
    hub: HubContext, baseline: Baseline
) -> None:
    [device] = add_fleet(hub, 1, group="north")
    send_days(hub, [device], baseline, 1)
    roll_up(hub, NOON + DAY)
    pruner = HistoryPruner(hub.database, RETENTION)

    def left(now: Any) -> set[tuple[str, str]]:
        pruner._looked_at = None
        while pruner.step(now):
            pruner._looked_at = None
        with hub.database.session() as session:
            found = {(row.span, row.scope) for row in session.exec(select(DriftPeriod))}
            return found | {("day", "scores") for _ in session.exec(select(DeviceDays))}

    days = {("day", "fleet"), ("day", "group"), ("day", "scores")}
    device_days = {("day", "device")}
    hours = {("hour", scope) for scope in ("fleet", "group", "device")}
    assert left(MIDNIGHT + 14 * DAY) == days | device_days | hours
    assert left(MIDNIGHT + 16 * DAY) == days | device_days
    assert left(MIDNIGHT + 42 * DAY) == days
    send(hub, device, baseline, NOON + 2 * HOUR, like_training(5), now=NOON + 34 * DAY)
    roll_up(hub, NOON + 42 * DAY)
    assert left(NOON + 42 * DAY) == days
    with hub.database.session() as session:
        assert periods(session, "day", "fleet")[MIDNIGHT].windows == 3
    assert left(MIDNIGHT + 402 * DAY) == set()


def test_a_tag_with_a_value_for_each_device_makes_no_more_cohorts_than_the_limit(
    hub: HubContext, baseline: Baseline
) -> None:
    settings = HistorySettings(drift_cohort_tags="site", drift_cohorts_max=3)
    for number in range(6):
        [device] = add_fleet(hub, 1, tags={"site": f"s{number}"})
        send(hub, device, baseline, NOON, like_training(number))
    roll_up(hub, NOON + DAY, settings)
    [device] = add_fleet(hub, 1, tags={"site": "later"})
    send(hub, device, baseline, NOON, like_training(9))
    roll_up(hub, NOON + DAY, settings)
    with hub.database.session() as session:
        named = {(row.span, row.name) for row in session.exec(select(DriftPeriod).where(DriftPeriod.scope == "tag"))}
        assert len(named) == 6
        assert len({name for _, name in named}) == 3
        assert same(sum_of(periods(session, "day", "fleet").values()), all_windows(session))


def test_it_is_done_once_an_interval_and_goes_on_where_it_has_stopped(
    hub: HubContext, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = sorted(add_fleet(hub, 4))
    for seed, device in enumerate(devices):
        send(hub, device, baseline, NOON, like_training(seed))
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "STEP_S", 0.0)
    chore = RollUp(hub.database, SETTINGS)
    assert chore.step(NOON) == 2
    send(hub, devices[0], baseline, NOON, like_training(20))
    assert chore.step(NOON) == 2, "those that had waited longest"
    assert chore.step(NOON) == 0
    assert chore.step(NOON) == 0, "not before its time"
    assert chore.step(NOON + timedelta(seconds=SETTINGS.drift_roll_up_every_s)) == 1


def test_history_begins_with_the_windows_that_were_there_before_it(hub: HubContext, baseline: Baseline) -> None:
    [device] = add_fleet(hub, 1)
    send_days(hub, [device], baseline, 3)
    with hub.database.session() as session:
        assert session.exec(select(Version)).one().number == 1
        assert to_come(session) == 6
    assert roll_up(hub, NOON + 3 * DAY) == 6


def test_windows_that_are_still_to_be_merged_are_found_by_their_index(sqlite_hub: HubContext) -> None:
    """Else each step would read all windows of five weeks."""
    said: list[tuple[str, Any]] = []
    engine = sqlite_hub.database.engine
    event.listen(engine, "before_cursor_execute", lambda *given: said.append((given[2], given[3])))
    with sqlite_hub.database.session() as session:
        module._due(session, None)
        module._due(session, ("colours", 1, "d-x", 7))
    for statement, values in [one for one in said if one[0].startswith("SELECT")]:
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        assert [("ix_windows_to_roll_up" in row[3], "TEMP" in row[3]) for row in rows] == [(True, False)]
