"""The byte ledger from the devices' heartbeats to the API, and as CSV."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.simulators.rows import NOON, add_device

from shoal_contract.ledger import LedgerTotals, Traffic
from shoal_contract.telemetry import Heartbeat, TelemetryMessage
from shoal_hub.context import HubContext
from shoal_hub.ingest.commit import Committer
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.ingest.receive import Received

MONTH = "2026-01"


class Telling:
    """A device that tells of its ledger in heartbeats, and an operator who reads it."""

    def __init__(self, hub: HubContext, client: TestClient) -> None:
        self.hub, self.client = hub, client
        self.committer = Committer(hub.database, Handlers())
        self.sequence = 0

    def add(self, **changes: Any) -> str:
        with self.hub.database.transaction() as session:
            return add_device(session, **changes).id

    def beat(self, stream: int, months: dict[str, dict[str, Traffic]]) -> TelemetryMessage:
        self.sequence += 1
        ledger = LedgerTotals(stream=stream, months=months)
        return TelemetryMessage(
            body=Heartbeat(
                at=NOON,
                uptime_s=1,
                memory_bytes=1,
                load=0,
                outbox_depth=0,
                connection=1,
                sequence=self.sequence,
                ledger=ledger,
            )
        )

    def tell(self, device_id: str, *beats: TelemetryMessage) -> None:
        self.committer.commit([Received(device_id, one) for one in beats], NOON)

    def months(self, **params: Any) -> list[Any]:
        answer = self.client.get("/api/v1/ledger", params={"month": MONTH} | params)
        assert answer.status_code == 200, answer.text
        return list(answer.json())


@pytest.fixture
def telling(hub: HubContext, client: TestClient) -> Telling:
    return Telling(hub, client)


def _sent(size_bytes: int) -> dict[str, dict[str, Traffic]]:
    return {MONTH: {"telemetry": Traffic(sent_bytes=size_bytes)}}


def test_a_month_adds_up_whatever_is_repeated_and_late(telling: Telling) -> None:
    device_id = telling.add(name="kitchen")
    early, late = telling.beat(5, _sent(100)), telling.beat(5, _sent(250))
    telling.tell(device_id, early, late, early)
    telling.tell(device_id, early)
    telling.tell(device_id, telling.beat(6, _sent(7)), late)
    (month,) = telling.months()
    assert month["categories"] == {"telemetry": {"received_bytes": 0, "sent_bytes": 257}}
    assert (month["name"], month["uplink_bytes"], month["max_bytes_per_month"]) == ("kitchen", 257, None)


def test_what_stays_on_the_lan_is_shown_and_counts_for_no_budget(telling: Telling) -> None:
    device_id = telling.add()
    traffic = {"artifacts_cache": Traffic(received_bytes=1000), "artifacts_https": Traffic(received_bytes=9)}
    telling.tell(device_id, telling.beat(1, {MONTH: traffic}))
    telling.client.put("/api/v1/limits/fleet", json={"max_bytes_per_month": 500}).raise_for_status()
    (month,) = telling.months()
    assert (month["uplink_bytes"], month["max_bytes_per_month"]) == (9, 500)
    assert month["categories"]["artifacts_cache"]["received_bytes"] == 1000


def test_of_a_month_that_is_not_near_nothing_is_kept(telling: Telling) -> None:
    device_id = telling.add()
    for month in ("2025-11", "2026-03", "9999-12"):
        telling.tell(device_id, telling.beat(1, {month: {"control": Traffic(sent_bytes=1)}}))
        assert telling.months(month=month) == []
    for month in ("2025-12", "2026-01", "2026-02"):
        telling.tell(device_id, telling.beat(1, {month: {"control": Traffic(sent_bytes=1)}}))
        assert len(telling.months(month=month)) == 1


def test_a_device_that_tells_absurd_totals_breaks_nothing_and_nobody_else(telling: Telling) -> None:
    liar, other = telling.add(), telling.add()
    most = 2**63 - 1
    for stream in (1, 2):
        telling.tell(liar, telling.beat(stream, {MONTH: {"control": Traffic(received_bytes=most, sent_bytes=most)}}))
    telling.tell(other, telling.beat(1, _sent(3)))
    assert {one["device_id"]: one["uplink_bytes"] for one in telling.months()} == {liar: 2 * most, other: 3}


def test_the_list_is_of_a_device_or_a_group_if_asked(telling: Telling) -> None:
    ids = {}
    for name, group in (("a", "greenhouse"), ("b", ""), ("c", "greenhouse"), ("silent", "greenhouse")):
        ids[name] = telling.add(name=name, group=group)
        if name != "silent":
            telling.tell(ids[name], telling.beat(1, _sent(1)))
    groups: dict[str, dict[str, Any]] = {
        "greenhouse": {},
        "meadow": {"devices": [ids["b"], ids["c"]]},
        "lettered": {"query": "name in (a, b, silent)"},
    }
    for name, body in groups.items():
        telling.client.post("/api/v1/groups", json={"name": name} | body).raise_for_status()
    assert [one["name"] for one in telling.months()] == ["a", "b", "c"]
    for group, names in (("greenhouse", "ac"), ("meadow", "bc"), ("lettered", "ab"), ("", "b")):
        assert [one["name"] for one in telling.months(group=group)] == list(names)
    page = telling.months(group="lettered", limit=1, offset=1)
    assert [one["name"] for one in page] == ["b"]
    assert telling.client.get("/api/v1/ledger", params={"group": "nowhere"}).status_code == 404
    device_id = telling.months()[1]["device_id"]
    assert [one["name"] for one in telling.months(device=device_id)] == ["b"]
    assert telling.client.get("/api/v1/ledger", params={"month": "2026-13"}).status_code == 422


def test_the_csv_has_a_column_a_direction_and_runs_in_no_spreadsheet(telling: Telling) -> None:
    device_id = telling.add(name="=cmd()")
    telling.tell(device_id, telling.beat(1, _sent(42)))
    answer = telling.client.get("/api/v1/ledger/export", params={"month": MONTH})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["device_id"], row["name"]) == (device_id, "'=cmd()")
    assert (row["telemetry_sent_bytes"], row["control_received_bytes"], row["uplink_bytes"]) == ("42", "0", "42")
    assert row["told_at"].startswith((NOON + timedelta(0)).isoformat()[:16])
