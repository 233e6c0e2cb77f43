"""What a gate reads: the windows of its own devices, found by an index, however many others there are."""

from datetime import timedelta
from typing import Any

from sqlalchemy import event
from sqlmodel import select
from tests.simulators.rows import NOON

from shoal_hub.context import HubContext
from shoal_hub.gates.evidence import Sides, Times, collect
from shoal_hub.gates.plan import GatePlan
from shoal_hub.rollouts.tables import Deployment

METRICS = ("error_rate", "accuracy", "drift", "slow_requests", "p95_latency", "confidence")
PLAN = GatePlan.model_validate({"metrics": [{"name": name} for name in METRICS]})


def test_windows_are_found_by_device_and_time_and_no_others_are_gone_through(sqlite_hub: HubContext) -> None:
    read: list[tuple[str, Any]] = []

    def before(_connection: Any, _cursor: Any, statement: str, values: Any, *_more: Any) -> None:
        if "FROM windows" in statement:
            read.append((statement, values))

    event.listen(sqlite_hub.database.engine, "before_cursor_execute", before)
    devices = select(Deployment.device_id).where(Deployment.rollout_id == "r-1")
    sides = Sides("digits", 2, 1, devices.where(Deployment.wave == 0), devices.where(Deployment.wave == 1))
    with sqlite_hub.database.session() as session:
        collect(session, sides, Times(NOON - timedelta(days=1), NOON, NOON), PLAN)
        event.remove(sqlite_hub.database.engine, "before_cursor_execute", before)
        assert len(read) == 4, "counts and histograms, on each side, however many devices"
        for statement, values in read:
            steps = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            assert "ix_windows_device (model=? AND device_id=? AND started_at>?)" in str(steps)
        assert [("sum(" in statement) for statement, _ in read] == [True, False] * 2
