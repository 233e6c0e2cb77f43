"""What follows from a request is remembered with it: jobs, rollouts, desired states; where none is traced, nothing."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.tracing.recorder import recording
from tests.simulators.rows import add_device

from shoal_contract.trace_context import TraceContext
from shoal_hub.context import HubContext
from shoal_hub.database import Database, utc_now
from shoal_hub.devices.intents import mark_all_stale
from shoal_hub.jobs.queue import enqueue
from shoal_hub.tracing.remembered import TracePruner, following, known_traces, recall, recall_desired, remember
from shoal_hub.tracing.spans import current, span
from shoal_hub.tracing.tables import TraceContextRow

CALLER = TraceContext("c" * 32, "d" * 16, is_sampled=True)
UNSAMPLED = CALLER._replace(is_sampled=False)


def rows(database: Database) -> dict[str, str]:
    with database.session() as session:
        return {row.subject: row.span_id for row in session.exec(select(TraceContextRow))}


def test_without_a_tracer_nothing_is_stored_or_looked_up(database: Database) -> None:
    with database.transaction() as session, span("request", CALLER) as begun:
        assert begun is None
        mark_all_stale(session, [add_device(session).id])
        enqueue(session, "delta", "", {}, by="ada")
        assert recall(session, ["job/x"]) == {}
        assert known_traces(session, {CALLER.trace_id}) == set()
    assert rows(database) == {}


def test_a_job_and_a_desired_state_follow_from_the_request_that_asked_last(database: Database) -> None:
    with recording(), database.transaction() as session:
        device = add_device(session).id
        for _ in range(2):
            with span("request", CALLER) as begun:
                assert begun is not None
                last = begun.context
                mark_all_stale(session, [device])
                job = enqueue(session, "delta", "", {}, by="ada").id
        assert recall_desired(session, [device, "d-other"]) == {device: last}
        assert recall(session, [f"job/{job}"]) == {f"job/{job}": last}
        assert known_traces(session, {CALLER.trace_id, "e" * 32}) == {CALLER.trace_id}


def test_what_is_asked_for_outside_of_any_trace_follows_from_none(database: Database) -> None:
    with recording(), database.transaction() as session:
        device = add_device(session).id
        with span("request", CALLER):
            mark_all_stale(session, [device])
        mark_all_stale(session, [device])
        assert recall_desired(session, [device]) == {}
        with span("request", UNSAMPLED):
            mark_all_stale(session, [device])
            assert current() is None
        assert recall_desired(session, [device]) == {}


def test_what_is_long_over_is_neither_followed_nor_kept(database: Database) -> None:
    with recording(timedelta(seconds=-1)), database.transaction() as session, span("request", CALLER):
        remember(session, "rollout/r-1")
        assert recall(session, ["rollout/r-1"]) == {}
    assert TracePruner(database, timedelta(hours=1)).step(utc_now()) == 0
    pruner = TracePruner(database, timedelta(hours=1))
    assert pruner.step(utc_now() + timedelta(hours=2)) == 1
    assert rows(database) == {}
    assert pruner.step(utc_now() + timedelta(hours=9)) == 0, "it looks now and then"


def test_a_look_that_finds_nothing_to_do_makes_no_span_and_one_that_does_makes_one(database: Database) -> None:
    with recording() as recorder, database.transaction() as session:
        device = add_device(session).id
        with span("request", CALLER):
            remember(session, "rollout/r-1")
        with following(session, "rollout/r-1", "advance", {"rollout": "r-1"}):
            pass
        with following(session, "rollout/unknown", "advance", {}):
            mark_all_stale(session, [device])
        assert recorder.names == ["request"]
        with following(session, "rollout/r-1", "advance", {"rollout": "r-1"}):
            mark_all_stale(session, [device])
            mark_all_stale(session, [device])
        [request, advance] = recorder.ended
        assert (advance.name, advance.parent) == ("advance", request.context)
        assert advance.attributes["is_back_dated"], "from when the look began"
        assert recall_desired(session, [device]) == {device: advance.context}


def test_two_processes_may_remember_the_same_things_at_the_same_time(database: Database) -> None:
    subjects = [f"desired/d-{number}" for number in range(50)]

    def one(number: int) -> None:
        with span("request", CALLER):
            for _ in range(5):
                with database.transaction() as session:
                    remember(session, *(subjects if number % 2 else reversed(subjects)))

    with recording(), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [None] * 4
    assert len(rows(database)) == 50


@pytest.mark.parametrize("told", ["", "rubbish", f"{CALLER}x", "01" + str(CALLER)[2:]])
def test_a_header_that_is_no_context_begins_a_trace(sqlite_client: TestClient, told: str) -> None:
    with recording() as recorder:
        assert sqlite_client.get("/api/v1/devices", headers={"traceparent": told}).status_code == 200
    [request] = recorder.ended
    assert (request.name, request.parent) == ("GET /api/v1/devices", None)


def test_a_request_is_a_span_of_its_caller_named_by_its_route(sqlite_client: TestClient) -> None:
    with recording() as recorder:
        sqlite_client.get("/api/v1/rollouts/r-secret", headers={"traceparent": str(CALLER)})
        sqlite_client.get("/made-up-by-a-caller")
        sqlite_client.get("/api/v1/health")
        sqlite_client.get("/metrics")
    found, unmatched = recorder.ended
    assert (found.name, found.parent) == ("GET /api/v1/rollouts/{rollout_id}", CALLER)
    assert found.attributes["http.response.status_code"] == 404
    assert unmatched.name == "GET", "no path that somebody has typed names a span"


def test_a_request_that_asks_for_work_has_it_in_its_trace(sqlite_client: TestClient, sqlite_hub: HubContext) -> None:
    with sqlite_hub.database.transaction() as session:
        device = add_device(session).id
    path = f"/api/v1/devices/{device}/config"
    with recording() as recorder:
        answer = sqlite_client.put(path, json={"window_s": 30}, headers={"traceparent": str(CALLER)})
        assert answer.status_code == 200, answer.text
    assert rows(sqlite_hub.database) == {f"desired/{device}": recorder.ended[0].context.span_id}
