"""The routes of jobs."""

import json
import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from shoal_hub.context import HubContext
from shoal_hub.jobs.log import log_path
from shoal_hub.jobs.queue import enqueue, finish
from shoal_hub.jobs.tables import Job


def test_jobs_are_listed_newest_first_and_their_logs_read(client: TestClient, hub: HubContext) -> None:
    with hub.database.transaction() as session:
        ids = [enqueue(session, "compress", "x", {}, by="ada").id for _ in range(3)]
    assert [job["id"] for job in client.get("/api/v1/jobs").json()] == ids[::-1]
    assert client.get("/api/v1/jobs?limit=1").json()[0]["id"] == ids[-1]
    assert client.get(f"/api/v1/jobs/{ids[0]}/log").text == ""
    path = log_path(hub.settings, ids[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"caf\xc3\xa9 \xff\n")
    assert client.get(f"/api/v1/jobs/{ids[0]}/log").text == "café \N{REPLACEMENT CHARACTER}\n"


def running(hub: HubContext) -> tuple[str, Path]:
    """A job that runs, and its log."""
    with hub.database.transaction() as session:
        job = enqueue(session, "compress", "x", {}, by="ada")
        job.state = "running"
        session.add(job)
    path = log_path(hub.settings, job.id)
    path.parent.mkdir(parents=True)
    return job.id, path


def test_a_log_is_followed_while_the_job_runs_and_ends_with_it(
    sqlite_client: TestClient, sqlite_hub: HubContext
) -> None:
    job_id, path = running(sqlite_hub)
    path.write_bytes("begun, ü".encode()[:-1])  # the last letter is half there

    def go_on() -> None:
        with path.open("ab") as log:
            log.write("ü".encode()[-1:] + b", done\n")
        with sqlite_hub.database.transaction() as session:
            finish(session, job_id, error="no")

    timer = threading.Timer(0.7, go_on)
    timer.start()
    told: list[tuple[str, dict[str, object]]] = []
    with sqlite_client.stream("GET", f"/api/v1/jobs/{job_id}/log/stream?offset=6") as answer:
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                told.append((kind, json.loads(line.removeprefix("data: "))))
    timer.join()
    assert told[-1] == ("end", {"state": "failed", "next": 16})
    assert "".join(str(one["text"]) for _, one in told[:-1]) == " ü, done\n"
    assert len(told) == 3, "what was there came before the job ended"


def test_a_job_is_cancelled_once_and_done_again(sqlite_client: TestClient, sqlite_hub: HubContext) -> None:
    job_id, _ = running(sqlite_hub)
    for _again in range(2):
        cancelled = sqlite_client.post(f"/api/v1/jobs/{job_id}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert cancelled.json()["error"] == "cancelled by ada"
    again = sqlite_client.post(f"/api/v1/jobs/{job_id}/retry")
    assert (again.status_code, again.json()["state"]) == (200, "queued")
    assert sqlite_client.post(f"/api/v1/jobs/{job_id}/retry").status_code == 409
    with sqlite_hub.database.transaction() as session:
        session.get_one(Job, job_id).state = "running"
    with sqlite_hub.database.transaction() as session:
        finish(session, job_id, result={})
    refused = sqlite_client.post(f"/api/v1/jobs/{job_id}/cancel")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    for command in ("cancel", "retry"):
        assert sqlite_client.post(f"/api/v1/jobs/j-none/{command}").status_code == 404


@pytest.mark.parametrize("path", ["/j-none", "/j-none/log", "/j-none/log/stream", "/..%2F..%2Fhub.sqlite/log"])
def test_a_job_that_is_not_there_is_not_found(sqlite_client: TestClient, path: str) -> None:
    assert sqlite_client.get(f"/api/v1/jobs{path}").status_code == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001"])
def test_a_query_without_sense_is_refused(sqlite_client: TestClient, query: str) -> None:
    assert sqlite_client.get(f"/api/v1/jobs?{query}").status_code == 422
