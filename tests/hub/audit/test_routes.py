"""The trail over the API: filters and pages, one entry, verifying, and both exports."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from tests.hub.audit.trail import overpower, run, write

from shoal_hub.audit.actor import Actor
from shoal_hub.audit.anchor import AnchorFile, AuditSigner
from shoal_hub.audit.chain import examine
from shoal_hub.audit.entry import iter_export
from shoal_hub.audit.key import read_public
from shoal_hub.audit.record import record
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now

URL = "/api/v1/audit"
EVE = Actor("op-eve", "eve", "viewer", "192.0.2.66")


def numbers(client: TestClient, query: str = "") -> list[int]:
    answer = client.get(URL + query)
    assert answer.status_code == 200, answer.text
    return [one["sequence"] for one in answer.json()]


def anchor(hub: HubContext) -> None:
    folder = hub.settings.data
    signer = AuditSigner(
        hub.database, folder / "trust", AnchorFile(folder), lambda _: None, anchor_s=20, liveness_s=3600
    )
    assert signer.step(utc_now(), is_urgent=True)


def test_entries_come_in_order_by_page_person_action_subject_and_time(client: TestClient, hub: HubContext) -> None:
    write(hub.database, 3)
    with hub.database.transaction() as session:
        record(session, EVE, "rollouts.create_rollout", "models/digits/versions/1", {}, {})
        record(session, EVE, "rollouts.create_rollout", "models/digits_2", {}, {})
    assert numbers(client) == [1, 2, 3, 4, 5]
    assert numbers(client, "?limit=2") == [4, 5]
    assert numbers(client, "?after=1&limit=2") == [2, 3]
    assert numbers(client, "?actor=eve") == numbers(client, "?actor=op-eve") == [4, 5]
    assert numbers(client, "?action=devices.update_device") == [1, 2, 3]
    assert numbers(client, "?subject=models/digits") == [4], "and all below it, but no other name"
    assert numbers(client, "?subject=devices/d-1") == [2]
    hour = timedelta(hours=1)
    ago, ahead = ((datetime.now(UTC) + one).isoformat().replace("+", "%2B") for one in (-hour, hour))
    assert numbers(client, f"?since={ago}&until={ahead}") == [1, 2, 3, 4, 5]
    assert numbers(client, f"?since={ahead}") == numbers(client, f"?until={ago}") == []


@pytest.mark.parametrize(
    "query",
    ["after=-1", "limit=0", "limit=1001", "since=2026-01-01", "since=x", "actor=%00", "after=9223372036854775808"],
)
def test_a_query_without_sense_is_refused(sqlite_client: TestClient, query: str) -> None:
    assert sqlite_client.get(f"{URL}?{query}").status_code == 422


def test_one_entry_is_shown_whole(client: TestClient, hub: HubContext) -> None:
    write(hub.database)
    entry = client.get(f"{URL}/1").json()
    assert (entry["before"], entry["after"]) == ({"name": "a"}, {"name": "b"})
    assert (entry["actor_name"], entry["actor_address"]) == ("ada", "192.0.2.7")
    assert client.get(f"{URL}/2").status_code == 404


def test_verifying_tells_what_was_checked_and_what_is_wrong(client: TestClient, hub: HubContext) -> None:
    write(hub.database, 3)
    anchor(hub)
    write(hub.database, 2)
    report = client.get(f"{URL}/verify").json()
    assert (report["holds"], report["entries"], report["covered"], report["anchors"]) == (True, 5, 3, 1)
    hub.kept_anchor.envelope = AnchorFile(hub.settings.data).lines()[0]
    assert client.get(f"{URL}/verify").json()["anchors"] == 1, "the broker's is the same one"
    AnchorFile(hub.settings.data).path.unlink()
    overpower(hub.database)
    run(hub.database, "DELETE FROM audit_entries WHERE sequence > 1")
    report = client.get(f"{URL}/verify").json()
    assert [one["kind"] for one in report["findings"]] == ["anchors_cut", "cut"]


def test_an_export_is_verified_with_three_files_and_no_hub(client: TestClient, hub: HubContext) -> None:
    client.post("/api/v1/tokens", json={"label": "Küche 🐟"}).raise_for_status()
    write(hub.database, 3)
    anchor(hub)
    export = client.get(f"{URL}/export").content
    lines, key = AnchorFile(hub.settings.data).lines(), read_public(hub.settings.data / "trust")
    report = examine(iter_export(export.splitlines()), lines, key, None)
    assert report.holds
    assert (report.entries, report.covered) == (4, 4)
    edited = export.replace(b'"name": "b"', b'"name": "c"', 1)
    assert [one.kind for one in examine(iter_export(edited.splitlines()), lines, key, None).findings] == ["edited"]


def test_a_spreadsheet_runs_nothing_of_a_csv_export(client: TestClient, hub: HubContext) -> None:
    nasty = ['=cmd|"/c calc"!A1', "+1", "-1", "@SUM(A1)", "\tx", "\rx", 'a"b,c\nd']
    for name in nasty:
        with hub.database.transaction() as session:
            record(session, Actor("op-x", name, "admin", ""), "x.y", "z", {}, {"name": name})
    answer = client.get(f"{URL}/export?form=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["actor_name"] for row in rows] == [f"'{name}" for name in nasty[:-1]] + nasty[-1:]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row.values())
    assert json.loads(rows[0]["after"]) == {"name": nasty[0]}
    assert client.get(f"{URL}/export?form=xml").status_code == 422
