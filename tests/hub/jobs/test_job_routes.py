"""The routes of jobs."""

import pytest
from fastapi.testclient import TestClient

from shoal_hub.context import HubContext
from shoal_hub.jobs.queue import enqueue
from shoal_hub.jobs.runner import log_path


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


@pytest.mark.parametrize("path", ["/j-none", "/j-none/log", "/..%2F..%2Fhub.sqlite/log"])
def test_a_job_that_is_not_there_is_not_found(sqlite_client: TestClient, path: str) -> None:
    assert sqlite_client.get(f"/api/v1/jobs{path}").status_code == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001"])
def test_a_query_without_sense_is_refused(sqlite_client: TestClient, query: str) -> None:
    assert sqlite_client.get(f"/api/v1/jobs?{query}").status_code == 422
