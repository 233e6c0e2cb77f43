"""Samples at the hub are found, looked at by whoever may, deleted, and let go when their time is over."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.captures.conftest import Fleet
from tests.hub.captures.samples import packed

from shoal_hub.api import create_app
from shoal_hub.audit.tables import AuditEntry
from shoal_hub.captures.kept import CapturePruner
from shoal_hub.database import utc_now
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tokens import create_operator_token
from shoal_hub.transfer.tables import Upload

MONTH = timedelta(days=30)


def test_samples_are_found_by_model_version_and_device(fleet: Fleet) -> None:
    fleet.want()
    fleet.send(packed(0), now=utc_now() - timedelta(hours=1))
    fleet.send(packed(1), device=1)
    newest, oldest = fleet.captures(model="digits")
    assert (newest["device_id"], oldest["device_id"]) == (fleet.ids[1], fleet.ids[0])
    assert fleet.captures(model="digits", version=1, device=fleet.ids[0]) == [oldest]
    assert fleet.captures(limit=1, offset=1) == [oldest]
    assert (fleet.captures(version=2), fleet.captures(model="other")) == ([], [])
    assert fleet.client.get(f"/api/v1/captures/{oldest['id']}").json() == oldest


def test_a_viewer_sees_that_there_are_samples_and_not_what_is_in_them(sqlite_fleet: Fleet) -> None:
    sqlite_fleet.want()
    sqlite_fleet.send(packed())
    [shown] = sqlite_fleet.captures()
    with sqlite_fleet.hub.database.transaction() as session:
        token = create_operator_token(session, "vera", Role.VIEWER)
    with TestClient(create_app(sqlite_fleet.hub), headers={"authorization": f"Bearer {token}"}) as viewer:
        assert viewer.get("/api/v1/captures").json() == [shown]
        assert viewer.get(f"/api/v1/captures/{shown['id']}/content").status_code == 403


def test_who_looked_at_a_sample_is_in_the_audit_trail(fleet: Fleet) -> None:
    fleet.want()
    fleet.send(packed())
    [shown] = fleet.captures()
    fleet.client.get(f"/api/v1/captures/{shown['id']}/content").raise_for_status()
    entry = fleet.client.get("/api/v1/audit").json()[-1]
    assert (entry["action"], entry["subject"]) == ("captures.fetch_capture", f"captures/{shown['id']}")


def test_a_sample_is_read_when_that_somebody_looks_at_it_is_committed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.want()
    fleet.send(packed())
    [shown] = fleet.captures()
    read, seen = fleet.hub.artifacts.read, list[str]()

    def look(sha256: str) -> bytes:
        with fleet.hub.database.transaction() as session:
            seen.extend(session.exec(select(AuditEntry.action).where(AuditEntry.action == "captures.fetch_capture")))
        return read(sha256)

    monkeypatch.setattr(fleet.hub.artifacts, "read", look)
    fleet.client.get(f"/api/v1/captures/{shown['id']}/content").raise_for_status()
    assert seen == ["captures.fetch_capture"]


def test_a_deleted_sample_is_gone_with_its_bytes(fleet: Fleet) -> None:
    fleet.want()
    fleet.send(packed())
    [shown] = fleet.captures()
    assert fleet.client.delete(f"/api/v1/captures/{shown['id']}").json() == shown
    assert fleet.client.get(f"/api/v1/captures/{shown['id']}").status_code == 404
    assert not fleet.hub.artifacts.has(shown["sha256"])
    with fleet.hub.database.session() as session:
        assert session.exec(select(Upload)).all() == []


def test_bytes_that_another_sample_has_too_stay(fleet: Fleet) -> None:
    fleet.want()
    fleet.send(packed(), device=0)
    fleet.send(packed(), device=1)
    one, two = fleet.captures()
    assert one["sha256"] == two["sha256"]
    fleet.client.delete(f"/api/v1/captures/{one['id']}").raise_for_status()
    assert fleet.client.get(f"/api/v1/captures/{two['id']}/content").status_code == 200


def test_all_samples_of_a_model_are_deleted_a_few_at_a_time(fleet: Fleet) -> None:
    fleet.want()
    for number in range(3):
        fleet.send(packed(number))
    assert fleet.client.delete("/api/v1/captures").status_code == 422, "a model has to be named"
    assert fleet.client.delete("/api/v1/captures?model=other").json() == []
    assert len(fleet.client.delete("/api/v1/captures?model=digits").json()) == 3
    assert fleet.client.delete("/api/v1/captures?model=digits").json() == []


def test_samples_are_kept_for_their_time_and_no_longer(fleet: Fleet) -> None:
    fleet.want()
    fleet.send(packed(0), now=utc_now() - timedelta(days=20))
    fleet.send(packed(1))
    pruner = CapturePruner(fleet.hub.database, fleet.hub.artifacts, MONTH)
    assert pruner.step(utc_now()) == 0
    old, new = fleet.captures()[1], fleet.captures()[0]
    assert pruner.step(utc_now() + timedelta(days=15)) == 1
    assert fleet.captures() == [new]
    assert not fleet.hub.artifacts.has(old["sha256"])
