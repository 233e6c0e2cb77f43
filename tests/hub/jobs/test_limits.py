"""What jobs may take, and how they end, with real processes: memory, CPU, time, kills, back-off, cancelling."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.hub.jobs import doing

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.errors import JobError
from shoal_hub.jobs.log import job_folder, read_tail
from shoal_hub.jobs.processes import kill_all
from shoal_hub.jobs.queue import cancel, do_again, enqueue, require_running
from shoal_hub.jobs.runner import JobRunner
from shoal_hub.jobs.tables import Job

_WAIT_S = 60.0


class Site:
    """A hub with a runner whose jobs do what a test wants."""

    def __init__(self, hub: HubContext, **settings: Any) -> None:
        self.hub = replace(hub, settings=hub.settings.model_copy(update={"job_retry_s": 0.0} | settings))
        self.runner = JobRunner(hub.database, self.hub.settings, doing.PROGRAM)

    def start(self, what: str, **params: Any) -> str:
        with self.hub.database.transaction() as session:
            return enqueue(session, doing.KIND, "", {"what": what, **params}, by="ada").id

    def job(self, job_id: str) -> Job:
        with self.hub.database.session() as session:
            return session.get_one(Job, job_id)

    def log(self, job_id: str) -> str:
        return read_tail(job_folder(self.hub.settings, job_id), 100_000)

    def tick_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not holds():
            assert time.monotonic() < deadline, "it did not come that far"
            self.runner.tick()
            time.sleep(0.05)  # the runner is level-triggered and tells nobody

    def end(self, job_id: str) -> Job:
        self.tick_until(lambda: self.job(job_id).ended_at is not None)
        return self.job(job_id)


NewSite = Callable[..., Site]


@pytest.fixture
def new_site(sqlite_hub: HubContext) -> Iterator[NewSite]:
    sites: list[Site] = []

    def make(**settings: Any) -> Site:
        sites.append(Site(sqlite_hub, **settings))
        return sites[-1]

    yield make
    for site in sites:
        site.runner.stop()


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_too_little_memory_is_told_as_such_and_tried_again_within_bounds(new_site: NewSite) -> None:
    site = new_site(job_memory_bytes=2 * 2**30, job_attempts=2)
    job = site.end(site.start("allocate", size_bytes=4 * 2**30))
    assert (job.state, job.cause, job.attempts) == ("failed", "memory", 2)
    assert job.error == "there was too little memory for it: a library says it in words of its own"


@pytest.mark.slow
def test_a_job_that_takes_too_much_cpu_is_ended_and_not_tried_again(new_site: NewSite) -> None:
    site = new_site(job_cpu_s=2.0)
    job = site.end(site.start("spin"))
    assert (job.state, job.cause, job.attempts) == ("failed", "cpu_time", 1)
    assert "SHOAL_JOB_CPU_S" in job.error


def test_a_job_that_was_killed_is_done_again_after_a_while(new_site: NewSite) -> None:
    site = new_site(job_retry_s=1.5)
    job_id = site.start("be killed once")
    site.tick_until(lambda: site.job(job_id).attempts == 1 and site.job(job_id).state == "queued")
    waiting = site.job(job_id)
    assert waiting.cause == "killed"
    assert waiting.not_before is not None
    assert waiting.not_before > utc_now()
    assert site.runner.is_busy, "the controller looks again soon"
    job = site.end(job_id)
    assert (job.state, job.result, job.cause) == ("succeeded", {"attempt": 2}, "")
    assert job.started_at is not None
    assert job.started_at >= waiting.not_before


def test_a_cancelled_job_ends_with_all_that_it_started_and_cleans_up(new_site: NewSite) -> None:
    site = new_site()
    job_id = site.start("wait")
    folder = job_folder(site.hub.settings, job_id)
    site.tick_until(lambda: "waiting" in site.log(job_id))
    sleeper = int((folder / "sleeper").read_text())
    assert is_running(sleeper)
    with site.hub.database.transaction() as session:
        require_running(session, job_id)
        assert cancel(session, job_id, by="ada")
        with pytest.raises(JobError, match="nothing is kept"):
            require_running(session, job_id)
    assert site.runner.is_busy
    site.tick_until(lambda: not site.runner.is_busy)
    job = site.job(job_id)
    assert (job.state, job.error, job.attempts) == ("cancelled", "cancelled by ada", 1)
    assert not is_running(sleeper), "it had left the group"
    assert (folder / "cleaned").exists(), "it was asked before it was killed"


@pytest.mark.slow
def test_a_job_that_runs_for_too_long_is_ended(new_site: NewSite) -> None:
    site = new_site(job_wall_s=2.0)
    job_id = site.start("wait")
    job = site.end(job_id)
    assert (job.state, job.cause) == ("failed", "wall_time")
    site.tick_until(lambda: not site.runner.is_busy)


def test_a_job_of_a_runner_that_is_gone_is_ended_too(new_site: NewSite) -> None:
    site, after = new_site(), new_site()
    job_id = site.start("wait")
    site.tick_until(lambda: "waiting" in site.log(job_id))
    child = site.runner._children.pop(job_id)
    after.runner.tick()
    assert after.job(job_id).attempts == 1
    with site.hub.database.transaction() as session:
        cancel(session, job_id, by="ada")
    after.runner.tick()
    assert child.wait(_WAIT_S) != 0
    after.tick_until(lambda: not after.runner.is_busy)
    assert (job_folder(site.hub.settings, job_id) / "cleaned").exists(), "it was asked before it was killed"


def cancel_and_ask_again(site: Site, job_id: str) -> None:
    with site.hub.database.transaction() as session:
        cancel(session, job_id, by="ada")
        row = session.get_one(Job, job_id, populate_existing=True)
        row.kind = "training"  # whose jobs are done again by hand
        do_again(session, row, by="ada")
        row.kind = doing.KIND


@pytest.mark.parametrize("is_adopted", [False, True])
def test_a_job_that_is_cancelled_and_asked_for_again_between_two_looks_has_its_process_ended_first(
    new_site: NewSite,
    is_adopted: bool,
) -> None:
    site = new_site(job_stop_s=0.3)
    job_id = site.start("hold back")
    site.tick_until(lambda: "holding" in site.log(job_id))
    child = site.runner._children[job_id]
    if is_adopted:
        before, site = site, new_site(job_stop_s=0.3)
        del before.runner._children[job_id]
        site.runner.tick()
        threading.Thread(target=child.wait, daemon=True).start()
    cancel_and_ask_again(site, job_id)
    site.runner.tick()
    assert site.job(job_id).state == "queued", "its process goes on"
    job = site.end(job_id)
    assert (job.state, job.result) == ("succeeded", {"attempt": 2})
    assert child.wait(_WAIT_S) == -signal.SIGKILL
    site.tick_until(lambda: not site.runner.is_busy)
    assert site.runner._killed_at == {}, "the next cancel asks first"


def test_the_session_of_somebody_who_has_the_number_of_an_old_process_is_left_alone() -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        assert kill_all("j-of-long-ago", stranger.pid) == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_a_job_prints_is_bounded_and_whole_at_its_end(new_site: NewSite) -> None:
    site = new_site(job_log_bytes=8192, job_threads=3)
    job_id = site.start("say", lines=5000)
    site.end(job_id)
    site.tick_until(lambda: site.log(job_id).endswith("line 4999\n"))
    folder = job_folder(site.hub.settings, job_id)
    assert sum(path.stat().st_size for path in folder.glob("log*")) <= 8192
    other = site.start("say threads")
    site.end(other)
    site.tick_until(lambda: site.log(other) == "3\n")
    assert os.environ.get("OMP_NUM_THREADS") != "3"
