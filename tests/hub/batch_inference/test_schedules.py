"""The controller's chore begins runs: by the clock, as a version becomes production, as files change, after others."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select
from tests.hub.batch_inference.nightly import TEXT, Nightly

from shoal_hub.audit.tables import AuditEntry
from shoal_hub.batch_inference.schedules import InferenceSchedules
from shoal_hub.database import utc_now
from shoal_hub.events.tables import EventRow

HOUR = timedelta(hours=1)
Look = Callable[..., list[Any]]


@pytest.fixture
def schedules(nightly: Nightly) -> InferenceSchedules:
    seconds = iter(range(0, 10**9, 1000))
    return InferenceSchedules(nightly.hub.database, nightly.hub.settings, lambda: next(seconds))


@pytest.fixture
def look(nightly: Nightly, schedules: InferenceSchedules) -> Look:
    """Looks, after so many hours, and returns the runs that began and have been done."""

    def step(hours: float = 0, name: str = "nightly") -> list[Any]:
        now: datetime = utc_now() + hours * HOUR
        known = {one["id"] for one in nightly.send("GET", f"/{name}/runs")}
        schedules.step(now)
        begun = [one for one in nightly.send("GET", f"/{name}/runs") if one["id"] not in known]
        for one in begun:
            assert nightly.work(one)["state"] == "succeeded"
        return [one["reason"] for one in begun]

    return step


def test_a_schedule_by_the_clock_begins_a_run_and_the_audit_trail_says_why(nightly: Nightly, look: Look) -> None:
    nightly.set(TEXT + 'schedule: {cron: "0 * * * *"}\n')
    assert look() == []
    assert look(1) == ["by its schedule, 0 * * * *"]
    assert look(1) == []
    with nightly.hub.database.session() as session:
        wanted = select(AuditEntry).where(AuditEntry.action == "batch_inference.begin")
        [entry] = session.exec(wanted.order_by(col(AuditEntry.sequence))).all()
    assert "by its schedule" in entry.after
    nightly.send("PUT", "/nightly/schedule", is_enabled=False)
    assert look(5) == []


def test_a_version_that_becomes_production_is_run_once(nightly: Nightly, look: Look) -> None:
    nightly.set(TEXT + "schedule: {events: [{kind: production}]}\n")
    assert look() == ["colours version 1 is in production"]
    assert look() == []
    nightly.register(seed=1)
    assert look() == ["colours version 2 is in production"]


NEW_DATA = TEXT + "schedule: {events: [{kind: new_data, look_s: 5}]}\n"


@pytest.fixture
def looked(look: Look, schedules: InferenceSchedules) -> Look:
    """Looks, and again when the source has been asked."""

    def twice() -> list[Any]:
        found = look()  # asks
        schedules._threads.submit(lambda: None).result(10)
        return found + look()

    return twice


def test_a_source_that_changes_is_run(nightly: Nightly, looked: Look) -> None:
    nightly.set(NEW_DATA)
    assert looked() == ["the source has changed"]
    assert looked() == []
    nightly.write_rows(5)
    assert (looked() + looked()) == ["the source has changed"]


def test_what_changes_while_a_schedule_is_off_is_not_made_up_for(nightly: Nightly, look: Look, looked: Look) -> None:
    nightly.set(NEW_DATA.replace("events: [", "events: [{kind: production}, "))
    assert look() == ["colours version 1 is in production"]
    looked()
    nightly.send("PUT", "/nightly/schedule", is_enabled=False)
    assert look() == []
    nightly.write_rows(5)
    nightly.register(seed=1)
    nightly.send("PUT", "/nightly/schedule", is_enabled=True)
    assert looked() + looked() == []
    nightly.write_rows(6)
    assert looked() + looked() == ["the source has changed"]


def test_of_a_file_that_is_set_anew_the_source_is_asked_anew(nightly: Nightly, looked: Look, look: Look) -> None:
    nightly.set(NEW_DATA)
    assert looked() == ["the source has changed"]
    assert looked() == []
    (nightly.files / "other.csv").write_text((nightly.files / "in.csv").read_text())
    nightly.set(NEW_DATA.replace("in.csv", "other.csv"))
    assert look() == [], "what is known is of the other file"
    assert looked() == ["the source has changed"]


def test_a_source_that_fails_in_a_way_of_its_own_is_asked_again(
    sqlite_nightly: Nightly, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nightly, now = sqlite_nightly, utc_now()
    schedules = InferenceSchedules(nightly.hub.database, nightly.hub.settings, iter(range(0, 10**9, 1000)).__next__)
    nightly.set(NEW_DATA)

    def step() -> int:
        begun = schedules.step(now)
        schedules._threads.submit(lambda: None).result(10)
        return begun

    with monkeypatch.context() as broken:
        broken.setattr("shoal_hub.batch_inference.schedules.check_files", lambda *_: 1 // 0)
        assert [step(), step()] == [0, 0]
    assert "it is asked again" in caplog.text
    assert [step(), step()] == [0, 1]


def test_one_runs_after_another_has_ended_well(nightly: Nightly, look: Look) -> None:
    nightly.set()
    nightly.set(TEXT.replace("name: nightly", "name: report") + "schedule: {after: [nightly]}\n", "report")
    assert look(name="report") == []
    run = nightly.send("POST", "/nightly/runs", 201)
    assert look(name="report") == []
    nightly.work(run)
    assert look(name="report") == ["after nightly"]
    assert look(name="report") == []


def test_what_can_not_begin_is_told_once(nightly: Nightly, look: Look) -> None:
    nightly.set(TEXT + 'schedule: {cron: "0 * * * *"}\n')
    nightly.client.post("/api/v1/models/colours/versions/1/stage", json={"stage": "archived"})
    assert look(1) == []
    assert look(1) == []
    with nightly.hub.database.session() as session:
        told = session.exec(select(EventRow.message).where(EventRow.kind == "batch_inference_failed")).all()
    assert len(told) == 1
    assert "no version production of colours" in told[0]
