"""The job runner with real child processes: success, failure, a vanished process, a restarted hub."""

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.registry.bundles import keras_archive, register_bundle, write_bundle

from shoal_hub.context import HubContext
from shoal_hub.database import Database
from shoal_hub.errors import JobError
from shoal_hub.jobs.child import run_job
from shoal_hub.jobs.kinds import KINDS, code_of
from shoal_hub.jobs.log import log_path
from shoal_hub.jobs.queue import cancel, enqueue, finish, give_up
from shoal_hub.jobs.runner import JobRunner, _is_alive
from shoal_hub.jobs.tables import Job
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.publish import publish_manifest
from shoal_hub.registry.versions import find_version

_WAIT_S = 60.0
NewRunner = Callable[[HubContext], JobRunner]


@pytest.fixture
def new_runner() -> Iterator[NewRunner]:
    """Makes runners, and ends what they have started when the test is over."""
    runners: list[JobRunner] = []

    def make(hub: HubContext) -> JobRunner:
        runners.append(JobRunner(hub.database, hub.settings))
        return runners[-1]

    yield make
    for runner in runners:
        runner.stop()


def once(hub: HubContext) -> HubContext:
    """The same hub, which tries no job a second time."""
    return replace(hub, settings=hub.settings.model_copy(update={"job_attempts": 1}))


def start(hub: HubContext, kind: str = "compress", **params: object) -> str:
    with hub.database.transaction() as session:
        return enqueue(session, kind, "model/colours/1", dict(params), by="ada").id


def job(hub: HubContext, job_id: str) -> Job:
    with hub.database.session() as session:
        return session.get_one(Job, job_id)


def tick_until(runner: JobRunner, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "the job did not come that far"
        runner.tick()
        time.sleep(0.05)  # the runner is level-triggered and tells nobody


def test_a_compression_makes_variants_that_a_manifest_can_be_published_of(
    hub: HubContext, client: TestClient, tmp_path: Path, new_runner: NewRunner
) -> None:
    register_bundle(hub, write_bundle(tmp_path / "bundle", extra={"model.keras": keras_archive()}))
    body = {"techniques": ["int8-qdq-onnx"]}
    job_id = client.post("/api/v1/models/colours/versions/1/compress", json=body).json()["id"]
    runner = new_runner(hub)
    tick_until(runner, lambda: job(hub, job_id).state in {"succeeded", "failed"})
    done = client.get(f"/api/v1/jobs/{job_id}").json()
    assert done["state"] == "succeeded", (done, client.get(f"/api/v1/jobs/{job_id}/log").text)
    assert done["progress"] == 1.0
    version = client.get("/api/v1/models/colours/versions/1").json()
    [variant] = version["variants"]
    assert (variant["runtime"], variant["format"]) == ("onnxruntime", "onnx")
    assert variant["accuracy"] > 0.8
    assert [variant["target"]] == done["result"]["targets"] == version["targets"]
    with hub.database.transaction() as session:
        version = find_version(session, "colours", "1")
        assert publish_manifest(session, hub.artifacts, hub.trust, hub.director, version).size_bytes
    assert [path.name for path in log_path(hub.settings, job_id).parent.iterdir()] == ["log"], "nothing is left behind"


def test_a_job_that_fails_says_why_in_its_row_its_event_and_its_log(
    hub: HubContext, client: TestClient, new_runner: NewRunner
) -> None:
    job_id = start(hub, version_id=99, techniques=["int8-qdq-onnx"])
    runner = new_runner(hub)
    tick_until(runner, lambda: job(hub, job_id).state == "failed")
    failed = job(hub, job_id)
    assert "No row was found" in failed.error
    assert (failed.pid, failed.ended_at is not None) == (None, True)
    assert "Traceback" in client.get(f"/api/v1/jobs/{job_id}/log").text
    [event] = client.get("/api/v1/events", params={"subject": f"job/{job_id}"}).json()
    assert (event["kind"], event["severity"]) == ("job_failed", "error")


def test_a_job_whose_process_is_killed_is_marked_failed_by_its_runner(hub: HubContext, new_runner: NewRunner) -> None:
    job_id = start(hub, version_id=1, techniques=[])
    runner = new_runner(once(hub))
    runner.tick()
    runner._children[job_id].kill()
    tick_until(runner, lambda: job(hub, job_id).state == "failed")
    assert f"status {-signal.SIGKILL}" in job(hub, job_id).error


def test_a_job_whose_process_is_gone_after_a_restart_is_done_again(hub: HubContext, new_runner: NewRunner) -> None:
    job_id = start(hub, version_id=99, techniques=[])
    before = new_runner(hub)
    before.tick()
    child = before._children.pop(job_id)
    child.kill()
    child.wait()
    assert job(hub, job_id).state == "running", "nobody has noticed yet"
    after = new_runner(hub)
    after.tick()
    again = job(hub, job_id)
    assert (again.state, again.attempts) == ("running", 2)
    tick_until(after, lambda: job(hub, job_id).state == "failed")


def test_stops_of_the_hub_are_no_failed_attempts_of_its_jobs(sqlite_hub: HubContext, new_runner: NewRunner) -> None:
    job_id = start(sqlite_hub, version_id=99, techniques=[])
    for _ in range(sqlite_hub.settings.job_attempts + 1):
        runner = new_runner(sqlite_hub)
        runner.tick()
        assert (job(sqlite_hub, job_id).state, job(sqlite_hub, job_id).attempts) == ("running", 1)
        runner.stop()
        assert job(sqlite_hub, job_id).state == "queued"


def test_two_processes_never_do_one_job_at_once(sqlite_hub: HubContext, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr("shoal_hub.jobs.child.code_of", lambda _: lambda work: done.append(work.job_id))
    job_id = start(sqlite_hub)
    folder = sqlite_hub.settings.data / "jobs" / job_id
    folder.mkdir(parents=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first process
        second = threading.Thread(target=run_job, args=(job_id, sqlite_hub.settings))
        second.start()
        with sqlite_hub.database.transaction() as session:
            session.get_one(Job, job_id).state = "running"
        with sqlite_hub.database.transaction() as session:
            finish(session, job_id, result={})
    finally:
        os.close(lock)
    second.join()
    assert done == []
    assert job(sqlite_hub, job_id).state == "succeeded"


def test_a_job_that_outlived_the_hub_is_left_alone(sqlite_hub: HubContext, new_runner: NewRunner) -> None:
    hub = sqlite_hub
    job_id = start(hub, version_id=99, techniques=[])
    before = new_runner(hub)
    before.tick()
    pid = job(hub, job_id).pid
    tick_until(before, lambda: _is_alive(job(hub, job_id)))  # a process has no name in its first microseconds
    after = new_runner(hub)
    after.tick()
    assert (job(hub, job_id).pid, job(hub, job_id).attempts) == (pid, 1)


def test_a_process_id_that_somebody_else_has_now_is_not_taken_for_the_job(
    sqlite_hub: HubContext, new_runner: NewRunner
) -> None:
    job_id = start(sqlite_hub, version_id=99, techniques=[])
    with sqlite_hub.database.transaction() as session:
        row = session.get_one(Job, job_id)
        row.state, row.pid, row.attempts = "running", 1, sqlite_hub.settings.job_attempts
        session.add(row)
    new_runner(sqlite_hub).tick()
    assert "vanished 3 times" in job(sqlite_hub, job_id).error


def test_jobs_wait_for_their_turn_in_order(sqlite_hub: HubContext, new_runner: NewRunner) -> None:
    ids = [start(sqlite_hub, version_id=99, techniques=[]) for _ in range(2)]
    runner = new_runner(sqlite_hub)
    runner.tick()
    assert [job(sqlite_hub, one).state for one in ids] == ["running", "queued"]


def test_a_late_word_of_a_child_changes_nothing(database: Database) -> None:
    with database.transaction() as session:
        job_id = enqueue(session, "compress", "x", {}, by="ada").id
        assert not finish(session, job_id, error="it is not running")
        session.get_one(Job, job_id).state = "running"
        session.flush()
        assert finish(session, job_id, result={"a": 1})
        assert not finish(session, job_id, error="too late")
    with database.session() as session:
        [row] = session.exec(select(Job))
        assert (row.state, row.result, row.error) == ("succeeded", {"a": 1}, "")


def test_an_eager_job_writes_its_progress_four_times_a_second(sqlite_hub: HubContext, tmp_path: Path) -> None:
    now = 0.0
    job_id = start(sqlite_hub)
    with sqlite_hub.database.transaction() as session:
        session.get_one(Job, job_id).state = "running"
    work = JobWork(
        job_id, {}, "ada", tmp_path, sqlite_hub.settings, sqlite_hub.database, sqlite_hub.artifacts, clock=lambda: now
    )
    seen = set()
    for step in range(101):
        now = step / 100
        work.progress("train", step, 100)
        seen.add(job(sqlite_hub, job_id).progress)
    assert 4 <= len(seen) <= 6
    assert (job(sqlite_hub, job_id).progress, job(sqlite_hub, job_id).message) == (1.0, "train 100/100")


def test_every_kind_has_code_and_an_unknown_one_is_refused() -> None:
    for kind in KINDS:
        assert callable(code_of(kind))
    with pytest.raises(JobError, match="newer hub"):
        code_of("magic")


def test_the_process_of_a_job_that_is_given_up_is_ended(hub: HubContext, new_runner: NewRunner) -> None:
    runner, job_id = new_runner(hub), start(hub)
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    runner._children[job_id] = child
    with hub.database.transaction() as session:
        row = session.get_one(Job, job_id)
        row.state, row.pid = "running", child.pid
        session.add(row)
    runner._end_given_up()
    assert child.poll() is None, "its job runs"
    with hub.database.transaction() as session:
        assert give_up(session, job_id, "nobody needs it")
    runner._end_given_up()
    assert child.wait(_WAIT_S) == -signal.SIGTERM
    runner._reap()
    assert (job(hub, job_id).state, job(hub, job_id).error) == ("failed", "nobody needs it")
    with hub.database.transaction() as session:
        assert not give_up(session, job_id, "again")


def meanwhile(call: Callable[[], object]) -> threading.Thread:
    """Have another process's transaction come in between, for as long as it may take if nothing holds it back."""
    other = threading.Thread(target=call, daemon=True)
    other.start()
    other.join(0.5)
    return other


def test_a_cancel_while_a_job_is_started_is_not_lost(
    hub: HubContext, new_runner: NewRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, job_id = new_runner(hub), start(hub)
    others: list[threading.Thread] = []

    def cancelled() -> None:
        with hub.database.transaction() as session:
            assert cancel(session, job_id, by="ada")

    def spawn(_: str) -> "subprocess.Popen[bytes]":
        others.append(meanwhile(cancelled))
        return subprocess.Popen(["sleep", "60"], start_new_session=True)

    monkeypatch.setattr(runner, "_spawn", spawn)
    runner.tick()
    others[0].join()
    assert job(hub, job_id).state == "cancelled"


def test_an_adopted_job_that_ends_while_it_is_looked_at_is_not_done_again(
    hub: HubContext, new_runner: NewRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, job_id = new_runner(hub), start(hub)
    with hub.database.transaction() as session:
        row = session.get_one(Job, job_id)
        row.state, row.pid, row.attempts = "running", 2**22 + 1, 1
        session.add(row)
    others: list[threading.Thread] = []

    def succeeded() -> None:
        with hub.database.transaction() as session:
            assert finish(session, job_id, result={})

    def is_alive(_: Job) -> bool:
        others.append(meanwhile(succeeded))
        return others[0].is_alive()

    monkeypatch.setattr("shoal_hub.jobs.runner._is_alive", is_alive)
    runner.tick()
    others[0].join()
    assert job(hub, job_id).state == "succeeded"
