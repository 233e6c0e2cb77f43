"""A job of Ray whose log ends before it does is followed on; `test_ray_job.py` has the cluster."""

import json
from collections.abc import AsyncIterator, Callable

import pytest

from shoal_training.errors import DataError, LaunchError
from shoal_training.pipeline.ray_job import RayJob


class Client:
    """Ray's client, of a dashboard that ends the log early: gives its states and logs one after the other."""

    def __init__(self, states: list[str], logs: list[str]) -> None:
        self.states, self.logs = states, logs
        self.stopped: list[str] = []

    def get_job_status(self, _id: str) -> str:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def stop_job(self, name: str) -> None:
        self.stopped.append(name)
        raise RuntimeError("the dashboard is away")

    async def tail_job_logs(self, _id: str) -> AsyncIterator[str]:
        yield self.logs.pop(0)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_training.pipeline.ray_job._AGAIN_S", 0.0)


def progress(done: int) -> str:
    return json.dumps({"event": "progress", "stage": "train", "done": done, "total": 3}) + "\n"


def test_a_log_that_ends_while_the_job_runs_is_followed_on_and_told_once() -> None:
    error = json.dumps({"event": "error", "error": "DataError", "message": "no rows"}) + "\n"
    whole = progress(1) + progress(2) + progress(3) + error
    client = Client(["RUNNING"], [whole[:75], whole[:150], whole])
    told: list[int] = []
    with pytest.raises(DataError, match="no rows"):
        RayJob(client, "job-1").result(lambda _stage, done, _total: told.append(done))
    assert told == [1, 2, 3]
    assert client.stopped == []


def test_a_job_that_ended_without_a_word_is_told_with_the_end_of_its_log() -> None:
    client = Client(["RUNNING", "FAILED"], ["begun\n", "begun\nkilled"])
    with pytest.raises(LaunchError, match="(?s)job-1 ended as FAILED; its log ends with: begun\nkilled"):
        RayJob(client, "job-1").result()


def test_a_failure_here_ends_the_job_and_is_told_though_the_cluster_does_not_answer() -> None:
    client = Client(["RUNNING"], [progress(1)])

    def full(_stage: str, _done: int, _total: int) -> None:
        raise OSError("the disk is full")

    failing: Callable[[str, int, int], None] = full
    with pytest.raises(OSError, match="the disk is full"):
        RayJob(client, "job-1").result(failing)
    assert client.stopped == ["job-1"]
