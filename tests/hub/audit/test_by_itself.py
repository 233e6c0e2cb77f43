"""What the hub does by itself is in the trail too, with what was and what is; and an idle hub leaves it short."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import col, select
from tests.hub.audit.site import TARGET, Site
from tests.hub.audit.trail import read, write
from tests.simulators.reconcile import reconcile_rollouts
from tests.simulators.rows import NOON, apply_reported, make_report, section

from shoal_contract.reported import ModelReport, SlotReport
from shoal_hub.audit.actor import CONTROLLER, DEVICE_ROLE, ENROLMENT_ROLE, JOBS, Actor
from shoal_hub.audit.entry import Entry
from shoal_hub.context import HubContext
from shoal_hub.database import Database, utc_now
from shoal_hub.federation.close import close_orphans, close_run
from shoal_hub.federation.tables import FederatedRun
from shoal_hub.jobs.queue import finish
from shoal_hub.jobs.tables import Job
from shoal_hub.rollouts.tables import Deployment
from shoal_hub.trust.renewal import renew_due, sign_all_again


@pytest.fixture
def site(client: TestClient, hub: HubContext, tmp_path: Path) -> Site:
    return Site(hub, client, tmp_path)


def by_itself(database: Database) -> list[Entry]:
    return [one for one in read(database) if one.actor_role == "system"]


def change(entry: Entry) -> tuple[Any, Any]:
    return json.loads(entry.before), json.loads(entry.after)


def versions(hub: HubContext) -> dict[str, int]:
    with hub.database.session() as session:
        return {row.role: row.version for row in hub.trust.reading(session).standing()}


def report(hub: HubContext, state: str, sequence: int) -> None:
    """Have the devices that were told say how it went."""
    with hub.database.transaction() as session:
        told = select(Deployment).where(col(Deployment.state) == "assigned")
        for one in session.exec(told).all():
            active = SlotReport(version=1, target=TARGET, sha256="0" * 64, state="good")
            models = {"digits": ModelReport(active=active)} if state == "applied" else {}
            answer = make_report(sequence=sequence, sections={"models/digits": section(state, one.id)}, models=models)
            assert apply_reported(session, one.device_id, answer, NOON)


def test_a_rollout_leaves_an_entry_for_each_wave_and_for_its_end(site: Site) -> None:
    plan = {"model": "digits", "version": "1", "waves": [1, 1]}
    rollout = site.send("POST", "/rollouts", json=plan)["id"]
    for sequence in (5, 6):
        reconcile_rollouts(site.hub.database, NOON)
        reconcile_rollouts(site.hub.database, NOON)
        report(site.hub, "applied", sequence)
    for _ in range(3):
        reconcile_rollouts(site.hub.database, NOON)
    mine = by_itself(site.hub.database)
    assert [(one.actor_name, one.action, one.subject) for one in mine] == [
        ("controller", "rollouts.advance", f"rollouts/{rollout}"),
        ("controller", "rollouts.finish", f"rollouts/{rollout}"),
    ]
    assert [change(one) for one in mine] == [
        ({"current_wave": 0}, {"current_wave": 1}),
        ({"state": "running"}, {"state": "succeeded"}),
    ]


def test_a_rollout_that_its_gate_aborts_is_an_entry_of_the_controller(site: Site) -> None:
    rollout = site.rollout()
    reconcile_rollouts(site.hub.database, NOON)
    report(site.hub, "failed", 5)
    for _ in range(5):
        reconcile_rollouts(site.hub.database, NOON)
    (mine,) = by_itself(site.hub.database)
    assert (mine.actor_name, mine.action, mine.subject) == ("controller", "rollouts.abort", f"rollouts/{rollout}")
    before, after = change(mine)
    assert (before["state"], after["state"]) == ("running", "aborted")
    assert "2 of 2 devices failed" in after["reason"]


def test_what_a_person_asks_of_a_rollout_is_no_entry_of_the_hub_besides_theirs(site: Site) -> None:
    rollout = site.rollout()
    site.send("POST", f"/rollouts/{rollout}/abort")
    assert by_itself(site.hub.database) == []


def test_renewed_metadata_is_an_entry_with_versions_and_ends(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        hub.trust.writing(session)
    before, late = versions(hub), utc_now() + timedelta(days=4)
    assert renew_due(hub.database, hub.trust, late)
    (mine,) = by_itself(hub.database)
    assert (mine.actor_name, mine.action, mine.subject) == ("controller", "trust.renew", "trust")
    was, is_now = change(mine)
    assert was.keys() == is_now.keys() == {"timestamp"}
    assert (was["timestamp"]["version"], is_now["timestamp"]["version"]) == (
        before["timestamp"],
        versions(hub)["timestamp"],
    )
    assert datetime.fromisoformat(is_now["timestamp"]["expires_at"]) > late + timedelta(days=6)


def test_metadata_that_a_controller_signs_again_at_its_start_is_an_entry(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        hub.trust.writing(session).list_manifest("digits", 1, b"{}")
    sign_all_again(hub.database, hub.trust, utc_now() + timedelta(seconds=1), {})
    (mine,) = by_itself(hub.database)
    assert mine.action == "trust.sign_all_again"
    assert change(mine)[1].keys() == {"models", "models/digits", "snapshot", "timestamp"}


def test_metadata_that_could_not_be_kept_leaves_no_entry(hub: HubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub.database.transaction() as session:
        hub.trust.writing(session)

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("shoal_hub.trust.renewal._untold", lambda *_: fail())
    with pytest.raises(ZeroDivisionError):
        renew_due(hub.database, hub.trust, utc_now() + timedelta(days=4))
    assert by_itself(hub.database) == []


def test_a_role_that_cannot_be_renewed_fills_no_trail(hub: HubContext) -> None:
    """Its key is lost: the controller tries again at each tick, and changes nothing."""
    with hub.database.transaction() as session:
        repository = hub.trust.writing(session)
        repository.list_manifest("digits", 1, b"{}")
        (lost,) = repository.delegator("models/digits").get_delegated_role("models/digits").keyids
    hub.trust.online.erase(lost)
    late = utc_now() + timedelta(days=20)
    for _ in range(3):
        renew_due(hub.database, hub.trust, late)
    assert [one.action for one in by_itself(hub.database)] == ["trust.renew"], "the other roles, once"


def test_an_idle_hub_leaves_less_than_one_entry_a_day(hub: HubContext) -> None:
    """The guide says: a timestamp each three and a half days, the rest twice a month."""
    with hub.database.transaction() as session:
        hub.trust.writing(session).list_manifest("digits", 1, b"{}")
    begin = utc_now()
    for hours in range(0, 60 * 24, 6):
        renew_due(hub.database, hub.trust, begin + timedelta(hours=hours))
    assert 10 <= len(by_itself(hub.database)) <= 24


def test_how_a_job_ends_is_an_entry(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        for number in range(2):
            session.add(Job(id=f"j-{number}", kind="compress", state="running", created_by="ada", created_at=NOON))
    with hub.database.transaction() as session:
        assert finish(session, "j-0", result={})
        assert finish(session, "j-1", error="out of memory")
        assert not finish(session, "j-1", result={})
    mine = by_itself(hub.database)
    assert [(one.actor_name, one.action, one.subject) for one in mine] == [
        ("jobs", "jobs.finish", "jobs/j-0"),
        ("jobs", "jobs.finish", "jobs/j-1"),
    ]
    assert change(mine[0]) == ({"state": "running"}, {"state": "succeeded"})
    assert "out of memory" in change(mine[1])[1]["error"]


def test_how_a_federated_run_ends_is_an_entry_unless_a_person_has_stopped_it(site: Site) -> None:
    run = site.federated_run()
    with site.hub.database.transaction() as session:
        row = session.get_one(FederatedRun, run)
        job = session.get_one(Job, row.job_id)
        job.state, job.error = "failed", "killed"
        session.add(job)
    close_orphans(site.hub.database)
    (mine,) = by_itself(site.hub.database)
    assert (mine.actor_name, mine.action, mine.subject) == ("controller", "federation.finish", f"federated/{run}")
    assert change(mine) == ({"state": "running"}, {"state": "failed", "reason": "killed"})
    with site.hub.database.transaction() as session:
        row = session.get_one(FederatedRun, run)
        row.state = "stopped"
        close_run(session, row, "failed", "stopped in round 2", NOON, by=JOBS)
    assert by_itself(site.hub.database) == [mine]


def test_the_trail_shows_people_devices_or_the_hub_alone(client: TestClient, hub: HubContext) -> None:
    write(hub.database, 2)
    for actor in (CONTROLLER, Actor("et-1", "kitchen", ENROLMENT_ROLE), Actor("d-1", "kitchen", DEVICE_ROLE)):
        write(hub.database, actor=actor)

    def numbers(by: str) -> list[int]:
        return [one["sequence"] for one in client.get(f"/api/v1/audit?by={by}").json()]

    assert (numbers("people"), numbers("hub"), numbers("devices")) == ([1, 2], [3], [4, 5])
    assert client.get("/api/v1/audit?by=nobody").status_code == 422
