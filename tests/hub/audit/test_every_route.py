"""Every route that changes something leaves exactly one entry, by construction and in fact; on both engines."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlmodel import col, select
from tests.hub.audit.drivers import ASKS_ONLY, DRIVEN, READS_ONLY, TELLS_ONLY
from tests.hub.audit.site import TARGET, Site
from tests.hub.audit.trail import read
from tests.hub.devices.requests_of import (
    ask,
    certificate_of,
    fingerprint,
    make_csr,
    new_key,
    new_token,
    renew,
    renewal,
)
from tests.simulators.reconcile import reconcile_rollouts
from tests.simulators.rows import NOON, add_device, add_version, apply_reported, make_report

import shoal_hub
from shoal_hub.api import create_app
from shoal_hub.audit.chain import verify
from shoal_hub.audit.changes import MAX_ROWS
from shoal_hub.audit.requests import watch_request
from shoal_hub.context import HubContext
from shoal_hub.database import SECRET
from shoal_hub.dependencies import _writing
from shoal_hub.devices.tables import EnrolmentTokenRow
from shoal_hub.events.record import record_event
from shoal_hub.rollouts.tables import Deployment
from shoal_hub.schema import METADATA


@pytest.fixture
def site(client: TestClient, hub: HubContext, tmp_path: Path) -> Site:
    return Site(hub, client, tmp_path)


def changing_routes(client: TestClient) -> set[tuple[str, str]]:
    paths = client.get("/api/openapi.json").json()["paths"]
    every = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    return {(method, path) for method, path in every if method not in READS_ONLY} - ASKS_ONLY


def test_every_route_that_changes_something_is_driven_here(sqlite_client: TestClient) -> None:
    assert changing_routes(sqlite_client) == set(DRIVEN)


@pytest.mark.parametrize("route", sorted(DRIVEN))
def test_a_request_that_succeeds_leaves_one_entry_with_who_what_and_of_what(site: Site, route: tuple[str, str]) -> None:
    prepare, action, subject = DRIVEN[route]
    send = prepare(site)
    before = len(read(site.hub.database))
    send()
    entries = read(site.hub.database)
    assert len(entries) == before + 1
    entry = entries[-1]
    assert entry.action == action
    assert re.fullmatch(subject + r"(?<=-)[a-z2-7]+" if subject.endswith("-") else subject, entry.subject)
    is_same = json.loads(entry.before) == json.loads(entry.after)
    assert is_same == (route in TELLS_ONLY), "it says what changed"
    assert entry.actor_address == "testclient"
    by_devices = {"devices.enrol_device": ("enrolment-token", ""), "devices.renew_certificate": ("device", "kitchen")}
    assert (entry.actor_role, entry.actor_name) == by_devices.get(action, ("admin", "ada"))
    assert verify(entries, []).findings[0].kind == "no_anchor", "the chain holds"


def _routes(routes: Any) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif included := getattr(route, "original_router", None):
            yield from _routes(included.routes)


def _calls(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for inner in dependant.dependencies:
        yield from _calls(inner)


def test_every_changing_route_of_the_api_works_in_an_audited_session(sqlite_hub: HubContext) -> None:
    """Fails for a new route that takes its session from elsewhere than `Writing` or `database.transaction()`."""
    app = create_app(sqlite_hub)
    assert sqlite_hub.database.on_begin is watch_request
    seen = 0
    for route in _routes(app.routes):
        asks = {(method, f"/api/v1{route.path}") for method in route.methods or ()} <= ASKS_ONLY
        if not set(route.methods) - READS_ONLY or not route.include_in_schema or asks:
            continue
        seen += 1
        source = Path(route.endpoint.__code__.co_filename).read_text()
        function = next(
            one
            for one in ast.walk(ast.parse(source))
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == route.endpoint.__name__
        )
        opens = "database.transaction()" in ast.unparse(function)
        assert _writing in set(_calls(route.dependant)) or opens, route.path
    assert seen == len(DRIVEN)


def test_nothing_of_the_hub_commits_but_the_database_itself() -> None:
    """A commit elsewhere would end a transaction before its entry is written."""
    folder = Path(shoal_hub.__file__).parent
    commits = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if re.search(r"\.commit\(\)|engine\.(begin|connect)\(", path.read_text())
    }
    # An election holds a lock and a number on a connection of its own; it changes nothing that anybody asked for.
    assert commits == {"database.py", "controller/election.py"}


def test_every_column_whose_name_speaks_of_a_secret_is_marked_as_one() -> None:
    named = [
        (table.name, column.name, column.info)
        for table in METADATA.tables.values()
        for column in table.columns
        if re.search("secret|password|private", column.name)
    ]
    assert named
    assert [(table, column) for table, column, info in named if info != SECRET] == []


def test_the_entry_shows_what_was_and_what_is_and_never_a_secret(site: Site) -> None:
    site.send("PATCH", f"/devices/{site.devices[0]}", json={"name": "greenhouse", "tags": {"a": "b"}})
    entry = read(site.hub.database)[-1]
    key = f"devices/{site.devices[0]}"
    assert json.loads(entry.before) == {key: {"name": "device-0", "tags": {}}}
    assert json.loads(entry.after) == {key: {"name": "greenhouse", "tags": {"a": "b"}}}
    token = site.send("POST", "/tokens", json={})
    made = json.loads(read(site.hub.database)[-1].after)[f"enrolment_tokens/{token['id']}"]
    assert made["secret_sha256"] == "(secret)"
    with site.hub.database.session() as session:
        row = session.get_one(EnrolmentTokenRow, token["id"])
    assert row.secret_sha256 not in read(site.hub.database)[-1].after


def test_a_device_that_waits_leaves_one_entry_however_often_it_asks_and_one_when_it_is_let_in(site: Site) -> None:
    """And a repetition, of an enrolment or a renewal, leaves none: it changes nothing."""
    key, csr = new_key(), make_csr()
    settings = site.hub.settings.model_copy(update={"enrol_by_hand": True})
    client = TestClient(create_app(replace(site.hub, settings=settings)))
    for _ in range(3):
        assert ask(client, csr=make_csr(key)).status_code == 202
    (entry,) = read(site.hub.database)
    assert (entry.actor_id, entry.actor_role) == (fingerprint(key), "device")
    assert entry.subject == f"pending_enrolments/{fingerprint(key)}"
    site.send("POST", f"/enrolments/{fingerprint(key)}/accept", json={})
    for _ in range(2):
        answer = ask(client, csr=make_csr(key))
    device_id = answer.json()["device_id"]
    for _ in range(2):
        certificate_of(renew(client, renewal(device_id, key, csr)))
    actions = ["enrol_device", "accept_enrolment", "enrol_device", "renew_certificate"]
    assert [one.action for one in read(site.hub.database)] == [f"devices.{action}" for action in actions]


def test_the_entry_of_a_new_ca_says_which_ones_are_trusted_before_and_after(site: Site) -> None:
    old = site.hub.authority.fingerprint
    status = site.send("POST", "/trust/ca/announce")
    entry = read(site.hub.database)[-1]
    assert json.loads(entry.before)["trust/ca"] == {"phase": "steady", "issuing": old, "trusted": [old]}
    trusted = {"phase": "announced", "issuing": old, "trusted": status["trusted"]}
    assert json.loads(entry.after)["trust/ca"] == trusted


def test_statements_that_bypass_the_orm_are_seen_with_what_the_rows_were(site: Site) -> None:
    rollout = site.rollout()
    reconcile_rollouts(site.hub.database, NOON)
    with site.hub.database.session() as session:
        told = session.exec(select(Deployment).where(col(Deployment.assigned_at).is_not(None))).all()
    assert told
    site.send("POST", f"/rollouts/{rollout}/pause")
    site.send("POST", f"/rollouts/{rollout}/resume")
    entry = read(site.hub.database)[-1]
    key = f"deployments/{told[0].id}"
    assert json.loads(entry.before)[key] == {"assigned_at": NOON.isoformat()}
    assert json.loads(entry.after)[key]["assigned_at"] > NOON.isoformat()
    token = new_token(site.client, uses=2)
    ask(site.client, token).raise_for_status()
    entry = read(site.hub.database)[-1]
    (uses,) = [row for key, row in json.loads(entry.after).items() if key.startswith("enrolment_tokens/")]
    assert uses == {"uses_left": 1}


def test_a_deleted_row_has_a_before_and_no_after(site: Site) -> None:
    site.send("PUT", f"/devices/{site.devices[0]}/config", json={"heartbeat_s": 30})
    site.send("PUT", f"/devices/{site.devices[0]}/config", json={"heartbeat_s": 60})
    entry = read(site.hub.database)[-1]
    before, after = json.loads(entry.before), json.loads(entry.after)
    values = {**before, **after}
    assert before
    assert all(key.startswith("intents/") for key in values)
    assert {row["body"]["heartbeat_s"] for row in before.values() if "body" in row} == {30.0}
    assert {row["body"]["heartbeat_s"] for row in after.values() if "body" in row} == {60.0}


def test_a_request_that_is_refused_leaves_no_entry_and_one_that_changes_nothing_leaves_one(site: Site) -> None:
    assert site.client.patch("/api/v1/devices/d-nobody", json={"name": "x"}).status_code == 404
    assert site.client.post("/api/v1/rollouts", json={"model": "digits", "version": "9"}).status_code == 404
    assert read(site.hub.database) == []
    site.send("PATCH", f"/devices/{site.devices[0]}", json={})
    entry = read(site.hub.database)[-1]
    assert (entry.before, entry.after) == ("{}", "{}"), "who asked for what is kept all the same"


def test_reading_leaves_no_entry_and_devices_reports_leave_none(site: Site) -> None:
    for path in ("/devices", "/rollouts", "/models/colours", "/audit", "/audit/verify", "/audit/export"):
        site.client.get(f"/api/v1{path}").raise_for_status()
    with site.hub.database.transaction() as session:
        assert apply_reported(session, site.devices[0], make_report(sequence=9), NOON)
        record_event(session, "test", "x")
    assert read(site.hub.database) == []


def test_a_plan_that_is_only_asked_for_leaves_no_entry_and_no_row(site: Site) -> None:
    plan = site.send("POST", "/rollouts/plan", json={"model": "digits", "version": "1"})
    assert len(plan["devices"]) == len(site.devices)
    assert read(site.hub.database) == []
    assert site.send("GET", "/rollouts") == []


def test_many_rows_are_shown_in_part_and_the_others_by_their_hash(hub: HubContext, client: TestClient) -> None:
    with hub.database.transaction() as session:
        for _ in range(MAX_ROWS + 20):
            add_device(session)
        add_version(session, hub.artifacts, 1, {TARGET: b"x"})
    made = client.post("/api/v1/rollouts", json={"model": "digits", "version": "1"})
    assert made.status_code == 201
    after = json.loads(read(hub.database)[-1].after)
    assert after["deployments/…"]["rows"] == 20
    deployments = sorted(f"deployments/{one['id']}" for one in made.json()["deployments"])
    assert sorted(key for key in after if key.startswith("deployments/d")) == deployments[:MAX_ROWS]
