"""Batch jobs at the API, in desired states, and in what devices tell of them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlmodel import select
from tests.simulators.rows import add_device, add_version, apply_reported, make_report

from shoal_contract.batch_jobs import BatchResult, DesiredBatch
from shoal_contract.ids import sha256_hex
from shoal_contract.limits import DEFAULT_CHUNK_BYTES
from shoal_contract.reported import Problem, SectionReport
from shoal_contract.telemetry import BlobOffer
from shoal_hub.api import create_app
from shoal_hub.audit.tables import AuditEntry
from shoal_hub.batches.collect import batch_purpose, take_batch_result
from shoal_hub.batches.prune import AnswerPruner
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.compose import compose
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import Device
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tokens import create_operator_token
from shoal_hub.settings import Settings
from shoal_hub.transfer.quota import Quota
from shoal_hub.transfer.uploads import Uploads

ANSWERS = b'{"file": "a.csv", "row": 1, "label": 3}\n'


class Fleet:
    """Two devices, a model, and the part of ingest that takes answers."""

    def __init__(self, hub: HubContext, client: TestClient, folder: Path) -> None:
        self.hub, self.client, self.folder = hub, client, folder
        self.max_bytes = Settings().batch_answers_max_bytes
        with hub.database.transaction() as session:
            self.ids = [add_device(session, name=f"device-{n}").id for n in range(2)]
            add_version(session, hub.artifacts, 1, {})

    def create(self, name: str = "march", **changes: Any) -> Any:
        deadline = (utc_now() + timedelta(days=1)).isoformat()
        body = {"model": "digits", "input": "readings/*.csv", "deadline_at": deadline, "max_result_bytes": 1000}
        who = {one: changes.pop(one) for one in ("groups", "devices") if one in changes}
        whole = {"name": name, "body": body | changes, "devices": self.ids} | who
        return self.client.post("/api/v1/batches", json=whole)

    def show(self, name: str = "march") -> Any:
        return self.client.get(f"/api/v1/batches/{name}").json()

    def wanted(self, device_id: str) -> dict[str, DesiredBatch]:
        with self.hub.database.session() as session:
            return compose(intents_of(session, device_id), utc_now()).batches

    def tell(self, device: int = 0, **fields: Any) -> None:
        result = BatchResult.model_validate({"batch": "march", "outcome": "done", "answered": 9} | fields)
        with self.hub.database.transaction() as session:
            take_batch_result(session, self.ids[device], result, utc_now())

    def uploads(self) -> Uploads:
        """Return the part of ingest that takes answers."""
        purposes = {"batch_result": batch_purpose(self.hub.artifacts, self.max_bytes)}
        return Uploads(self.hub.database, self.folder / "uploads", purposes, Quota.of(Settings()))

    def send(self, data: bytes = ANSWERS, device: int = 0, about: str = "march") -> Any:
        """Have a device offer answers and send them; return the hub's last word."""
        uploads, offer = self.uploads(), offer_of(data, about)
        sha256 = offer.sha256
        with self.hub.database.transaction() as session:
            uploads.offer(session, self.ids[device], offer, utc_now())
            session.flush()
            answer = uploads.answers(session, self.ids[device])[sha256]
        return uploads.chunk(self.ids[device], sha256, 0, data, utc_now()) if answer.state == "credit" else answer


def offer_of(data: bytes, about: str) -> BlobOffer:
    return BlobOffer(
        sha256=sha256_hex(data),
        size_bytes=len(data),
        chunk_bytes=DEFAULT_CHUNK_BYTES,
        purpose="batch_result",
        about=about,
    )


@pytest.fixture
def fleet(hub: HubContext, client: TestClient, tmp_path: Path) -> Fleet:
    return Fleet(hub, client, tmp_path)


@pytest.fixture
def sqlite_fleet(sqlite_hub: HubContext, sqlite_client: TestClient, tmp_path: Path) -> Fleet:
    return Fleet(sqlite_hub, sqlite_client, tmp_path)


def test_a_job_is_wanted_of_its_devices_until_it_is_cancelled(fleet: Fleet) -> None:
    made = fleet.create(keep=["id"], windows=[{"start": "01:00", "minutes": 60}])
    assert made.status_code == 201, made.text
    assert made.json()["counts"] == {"open": 2}
    wanted = fleet.wanted(fleet.ids[0])["march"]
    assert (wanted.input, wanted.keep, wanted.form, wanted.max_load) == ("readings/*.csv", ("id",), "jsonl", 0.1)
    assert fleet.wanted(fleet.ids[1]).keys() == {"march"}
    assert [one["name"] for one in fleet.client.get("/api/v1/batches").json()] == ["march"]
    fleet.tell(0)
    cancelled = fleet.client.post("/api/v1/batches/march/cancel").json()
    assert (cancelled["cancelled_by"], cancelled["counts"]) == ("ada", {"done": 1, "cancelled": 1})
    assert fleet.client.post("/api/v1/batches/march/cancel").json() == cancelled, "asked again, nothing changes"
    assert fleet.wanted(fleet.ids[0]) == {}


def test_a_job_without_room_in_a_state_is_refused_at_once(sqlite_fleet: Fleet) -> None:
    refused = sqlite_fleet.create(keep=[f"{n:02}" + "x" * 126 for n in range(64)])
    assert refused.status_code == 422
    assert "at most 4096 have room in a state" in refused.json()["error"]["message"]
    assert sqlite_fleet.client.get("/api/v1/batches").json() == []


def test_the_devices_of_a_group_are_those_that_are_in_it_now(fleet: Fleet) -> None:
    fleet.client.post("/api/v1/groups", json={"name": "plant", "devices": fleet.ids[:1]}).raise_for_status()
    assert fleet.create(groups=["plant"], devices=[]).json()["counts"] == {"open": 1}
    assert (len(fleet.wanted(fleet.ids[0])), len(fleet.wanted(fleet.ids[1]))) == (1, 0)


def test_how_far_each_device_is_follows_from_its_report_and_how_it_ended_from_its_word(fleet: Fleet) -> None:
    fleet.create()
    said = SectionReport(state="working", step="40 answered, 1 rejected")
    with fleet.hub.database.transaction() as session:
        apply_reported(session, fleet.ids[0], make_report(sections={"batches/march": said}), utc_now())
    one, two = fleet.show()["devices"]
    assert (one["state"], one["step"], two["state"]) == ("working", "40 answered, 1 rejected", "waiting")
    problem = Problem(code="batch", message="no file", remedy="put one there")
    fleet.tell(0, outcome="failed", answered=40, problem=problem)
    fleet.tell(0, outcome="done", answered=99)
    fleet.tell(1, version=1, rejected=2, result_bytes=7)
    one, two = fleet.show()["devices"]
    assert (one["outcome"], one["answered"], one["problem"]["message"]) == ("failed", 40, "no file"), "told once"
    assert (two["outcome"], two["answered"], two["rejected"], two["version"]) == ("done", 9, 2, 1)
    assert (two["result_bytes"], two["is_stored"]) == (7, False)


def test_answers_come_from_the_device_that_has_told_of_them_and_are_fetched_by_operators(fleet: Fleet) -> None:
    fleet.create()
    path = f"/api/v1/batches/march/devices/{fleet.ids[0]}/answers"
    assert fleet.client.get(path).status_code == 404
    assert "told of no such answers" in fleet.send().reason
    fleet.tell(0, result_sha256=sha256_hex(ANSWERS), result_bytes=len(ANSWERS))
    assert "told of no such answers" in fleet.send(b"others").reason
    assert "told of no such answers" in fleet.send(device=1).reason
    assert "told of no such answers" in fleet.send(about="april").reason
    assert fleet.send().state == "stored"
    assert fleet.send().state == "stored", "the same again is there"
    assert fleet.show()["devices"][0]["is_stored"]
    assert fleet.client.get(path).content == ANSWERS
    assert fleet.client.get("/api/v1/audit").json()[-1]["action"] == "batches.fetch_answers"
    with fleet.hub.database.transaction() as session:
        token = create_operator_token(session, "vera", Role.VIEWER)
    with TestClient(create_app(fleet.hub), headers={"authorization": f"Bearer {token}"}) as viewer:
        assert viewer.get(path).status_code == 403


def test_answers_are_read_when_that_somebody_fetches_them_is_committed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.create()
    fleet.tell(0, result_sha256=sha256_hex(ANSWERS), result_bytes=len(ANSWERS))
    fleet.send()
    read, seen = fleet.hub.artifacts.read, list[str]()

    def look(sha256: str) -> bytes:
        with fleet.hub.database.transaction() as session:
            seen.extend(session.exec(select(AuditEntry.action).where(AuditEntry.action == "batches.fetch_answers")))
        return read(sha256)

    monkeypatch.setattr(fleet.hub.artifacts, "read", look)
    fleet.client.get(f"/api/v1/batches/march/devices/{fleet.ids[0]}/answers").raise_for_status()
    assert seen == ["batches.fetch_answers"]


def test_answers_that_are_told_of_and_offered_in_one_batch_are_taken_whoever_offers_first(fleet: Fleet) -> None:
    fleet.create()
    uploads, handlers = fleet.uploads(), Handlers()
    handlers.on(BlobOffer, uploads.offer)
    handlers.on(BatchResult, take_batch_result)
    told = BatchResult(
        batch="march", outcome="done", answered=1, result_bytes=len(ANSWERS), result_sha256=sha256_hex(ANSWERS)
    )
    one, two = fleet.ids
    with fleet.hub.database.transaction() as session:
        batch = [(one, offer_of(b"others", "march")), (two, told), (two, offer_of(ANSWERS, "march"))]
        handlers.handle(session, batch, utc_now())
        session.flush()
        assert uploads.answers(session, two)[sha256_hex(ANSWERS)].state == "credit"


def test_the_controller_is_told_of_jobs_as_of_intents(sqlite_fleet: Fleet) -> None:
    heard: list[frozenset[str]] = []
    sqlite_fleet.hub.database.on_commit = heard.append
    sqlite_fleet.create()
    sqlite_fleet.client.post("/api/v1/batches/march/cancel").raise_for_status()
    assert [words & {"batches", "intents"} for words in heard] == [{"batches", "intents"}] * 2


def test_answers_beyond_the_jobs_bound_and_of_a_revoked_device_are_refused(sqlite_fleet: Fleet) -> None:
    sqlite_fleet.create(max_result_bytes=5)
    sqlite_fleet.tell(0, result_sha256=sha256_hex(ANSWERS), result_bytes=len(ANSWERS))
    assert "at most 5" in sqlite_fleet.send().reason
    with sqlite_fleet.hub.database.transaction() as session:
        revoke(session, session.get_one(Device, sqlite_fleet.ids[0]), by="ada", reason="", now=utc_now())
    assert sqlite_fleet.send(b"x").reason == "the device was revoked"


@pytest.mark.parametrize("said_bytes", [0, len(ANSWERS)])
def test_the_room_for_answers_holds_whatever_devices_say_of_them_and_whoever_has_credit(
    fleet: Fleet, said_bytes: int
) -> None:
    fleet.create()
    fleet.max_bytes = 2 * len(ANSWERS) - 1
    uploads, offer = fleet.uploads(), offer_of(ANSWERS, "march")
    for device, device_id in enumerate(fleet.ids):
        fleet.tell(device, result_sha256=offer.sha256, result_bytes=said_bytes)
        with fleet.hub.database.transaction() as session:
            uploads.offer(session, device_id, offer, utc_now())
    one, two = (uploads.chunk(device_id, offer.sha256, 0, ANSWERS, utc_now()) for device_id in fleet.ids)
    assert one is not None
    assert two is not None
    assert (one.state, two.state) == ("stored", "refused"), "both had credit"
    assert "SHOAL_BATCH_ANSWERS_MAX_BYTES" in two.reason
    assert [row["is_stored"] for row in fleet.show()["devices"]] == [True, False]
    with fleet.hub.database.transaction() as session:
        fleet.uploads().offer(session, fleet.ids[1], offer, utc_now())
        session.flush()
        answer = uploads.answers(session, fleet.ids[1])[offer.sha256]
    assert f"keeps {len(ANSWERS)} bytes" in answer.reason, "also once it is counted again"


def test_answers_are_kept_for_their_time_and_how_the_job_ended_stays(fleet: Fleet) -> None:
    fleet.create()
    fleet.tell(0, result_sha256=sha256_hex(ANSWERS), result_bytes=len(ANSWERS))
    fleet.send()
    assert fleet.hub.artifacts.has(sha256_hex(ANSWERS))
    pruner = AnswerPruner(fleet.hub.database, fleet.hub.artifacts, timedelta(days=30))
    assert (pruner.step(utc_now()), pruner.step(utc_now() + timedelta(days=31))) == (0, 1)
    assert not fleet.hub.artifacts.has(sha256_hex(ANSWERS))
    assert (fleet.show()["devices"][0]["outcome"], fleet.show()["devices"][0]["is_stored"]) == ("done", False)


def test_answers_whose_time_is_over_are_found_without_a_look_at_every_device(sqlite_fleet: Fleet) -> None:
    database, asked = sqlite_fleet.hub.database, list[tuple[str, Any]]()

    def note(_c: Any, _u: Any, statement: str, parameters: Any, _x: Any, _m: bool) -> None:
        asked.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    AnswerPruner(database, sqlite_fleet.hub.artifacts, timedelta(days=30)).step(utc_now())
    event.remove(database.engine, "before_cursor_execute", note)
    [(statement, parameters)] = [one for one in asked if "FROM batch_devices" in one[0]]
    with database.session() as session:
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert "USING INDEX ix_batch_devices_is_stored_ended_at (is_stored=? AND ended_at<?)" in str(plan)


def test_the_end_of_a_job_that_a_device_was_not_given_is_dropped_with_an_event(sqlite_fleet: Fleet) -> None:
    sqlite_fleet.tell()
    events = sqlite_fleet.client.get("/api/v1/events").json()
    assert [one["kind"] for one in events][-1] == "batch_uninvited"


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"model": "other"}, 404, "other"),
        ({"version": 9}, 404, "9"),
        ({"deadline_at": "2020-01-01T00:00:00Z"}, 422, "has passed"),
        ({"devices": []}, 422, "0 devices found"),
        ({"devices": ["d-" + "a" * 16]}, 404, "no device"),
        ({"groups": ["nowhere"]}, 404, "no group nowhere"),
        ({"form": "exe"}, 422, "form"),
        ({"input": "a\x00b"}, 422, "input"),
        ({"keep": ["a\x00b"]}, 422, "keep"),
        ({"max_result_bytes": 10**12}, 422, "max_result_bytes"),
    ],
)
def test_what_can_not_be_done_is_refused(sqlite_fleet: Fleet, changes: dict[str, Any], status: int, says: str) -> None:
    refused = sqlite_fleet.create(**changes)
    assert (refused.status_code, says in refused.json()["error"]["message"]) == (status, True), refused.text


def test_a_name_is_given_once_and_a_device_has_so_many_jobs_at_most(sqlite_fleet: Fleet) -> None:
    for number in range(16):
        assert sqlite_fleet.create(f"job-{number}").status_code == 201
    assert sqlite_fleet.create("job-1", devices=[]).status_code == 422
    full = sqlite_fleet.create("one-more")
    assert (full.status_code, "which is the most" in full.json()["error"]["message"]) == (409, True)
    sqlite_fleet.client.post("/api/v1/batches/job-1/cancel").raise_for_status()
    taken = sqlite_fleet.create("job-1")
    assert (taken.status_code, "was a batch job job-1" in taken.json()["error"]["message"]) == (409, True)
    assert sqlite_fleet.create("one-more").status_code == 201
