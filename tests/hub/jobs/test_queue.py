"""Whose turn it is: priority, then who came first, within what may run at once."""

from datetime import timedelta

import pytest

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.errors import ConflictError, SettingsError
from shoal_hub.jobs.queue import LONGEST_RETRY_S, Retrying, cancel, do_again, enqueue, finish
from shoal_hub.jobs.runner import JobRunner
from shoal_hub.jobs.tables import Job
from shoal_hub.settings import Settings


def turns(hub: HubContext, asked: list[tuple[str, int]], **settings: object) -> list[int]:
    """Return which of these jobs, a kind and a priority each, are started."""
    runner = JobRunner(hub.database, hub.settings.model_copy(update=settings))
    with hub.database.transaction() as session:
        made = [enqueue(session, kind, "", {}, by="ada", priority=priority) for kind, priority in asked]
        queued = sorted(made, key=lambda one: (-one.priority, one.created_at))
        chosen = runner._whose_turn_it_is(queued, runner._running(session), utc_now())
        return [made.index(one) for one in chosen]


def test_the_highest_priority_goes_first_and_then_who_came_first(sqlite_hub: HubContext) -> None:
    assert turns(sqlite_hub, [("compress", 0), ("compress", 5), ("delta", 5)], max_jobs=2) == [1, 2]


def test_a_kind_at_its_limit_holds_up_no_other(sqlite_hub: HubContext) -> None:
    asked = [("training", 9), ("training", 9), ("compress", 0), ("federated", 0)]
    assert turns(sqlite_hub, asked, max_jobs=3, jobs_at_once="training=1") == [0, 2, 3]


def test_what_waits_for_its_next_attempt_is_passed_over(sqlite_hub: HubContext) -> None:
    with sqlite_hub.database.transaction() as session:
        later = enqueue(session, "compress", "", {}, by="ada")
        later.not_before = utc_now() + timedelta(hours=1)
        session.add(later)
    runner = JobRunner(sqlite_hub.database, sqlite_hub.settings)
    runner.tick()
    assert runner.is_busy, "it is looked at again"
    with sqlite_hub.database.session() as session:
        assert session.get_one(Job, later.id).state == "queued"


def test_waits_double_up_to_an_hour() -> None:
    retrying = Retrying(10, 10.0)
    assert [retrying.wait_s(one) for one in (1, 2, 3)] == [10.0, 20.0, 40.0]
    assert retrying.wait_s(99) == LONGEST_RETRY_S


@pytest.mark.parametrize("text", ["training", "training=0", "=1", "training=x"])
def test_a_limit_by_kind_that_is_none_is_refused_at_start(text: str) -> None:
    with pytest.raises(SettingsError, match="SHOAL_JOBS_AT_ONCE"):
        Settings.read({"SHOAL_JOBS_AT_ONCE": text})


def test_only_what_has_failed_and_stands_for_itself_is_done_again(sqlite_hub: HubContext) -> None:
    with sqlite_hub.database.transaction() as session:
        job = enqueue(session, "compress", "", {}, by="ada")
        with pytest.raises(ConflictError, match="it is queued"):
            do_again(session, job, by="ada")
        job.state = "running"
        session.flush()
        finish(session, job.id, error="no")
        session.refresh(job)
        do_again(session, job, by="ada")
        assert (job.state, job.error, job.attempts, job.ended_at) == ("queued", "", 0, None)
        other = enqueue(session, "compression", "compression/c-1", {}, by="ada")
        cancel(session, other.id, by="ada")
        session.refresh(other)
        with pytest.raises(ConflictError, match="compression/c-1 has ended with it"):
            do_again(session, other, by="ada")
