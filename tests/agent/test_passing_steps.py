"""Steps of a deployment that wait travel in the next one, and nothing that may have been sent ever changes."""

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_agent.outbox import _COUNT, Outbox
from shoal_agent.settings import OutboxSettings
from shoal_contract.limits import MAX_PASSED_STEPS
from shoal_contract.reported import Problem
from shoal_contract.telemetry import DeploymentEvent, Event, MissingArtifact, PassedStep, VersionCost

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
COST = VersionCost(sha256="0" * 64, latency_p50_ms=2.5, runs=21, memory_bytes=1)
PROBLEM = Problem(code="budget", message="the month's bytes are spent", remedy="wait")
ALL = ("fetch", "verify", "stage", "activate", "commit")
Put = Callable[..., int]


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.sqlite", OutboxSettings())
    yield box
    box.close()


@pytest.fixture
def put(outbox: Outbox) -> Put:
    return lambda step, **fields: put_step(outbox, step, **fields)


def put_step(outbox: Outbox, step: str, *, deployment: str = "dp", **fields: Any) -> int:
    body = DeploymentEvent(model="m", version=1, deployment=deployment, step=step, **fields)  # type: ignore[arg-type]
    return outbox.put_event(body, NOON)


def waiting(outbox: Outbox) -> list[tuple[int, DeploymentEvent]]:
    found = ((one.position.sequence, Event.model_validate_json(one.body).body) for one in outbox.after(0, 1000))
    return [(sequence, body) for sequence, body in found if isinstance(body, DeploymentEvent)]


def test_a_deployment_whose_steps_nobody_has_read_is_one_message_that_tells_them_all(outbox: Outbox, put: Put) -> None:
    told: list[float] = []
    outbox.on_change = told.append
    sequences = [
        put("fetch", duration_s=0.1),
        put("verify", duration_s=2.0, fetched_bytes=7),
        put("stage", duration_s=2.5, cost=COST, fetched_bytes=7),
        put("activate", duration_s=2.6, fetched_bytes=7),
        put("commit", duration_s=2.7, fetched_bytes=7),
    ]
    assert (sequences, outbox.depth(), outbox.last()) == ([1] * 5, 1, 1)
    assert told == [*[OutboxSettings().linger_s] * 4, OutboxSettings().ending_s]  # the end is not held back
    assert outbox._database.execute(_COUNT).fetchone() == (outbox._count, outbox._bytes)
    ((_, body),) = waiting(outbox)
    assert (body.steps, body.fetched_bytes, body.cost) == (ALL, 7, COST)
    assert body.passed[:2] == (PassedStep(step="fetch", duration_s=0.1), PassedStep(step="verify", duration_s=2.0))
    assert body.duration_s == 2.7


def test_what_has_travelled_is_not_taken_back_by_a_step_that_knows_of_none(outbox: Outbox, put: Put) -> None:
    put("fetch", fetched_bytes=9)
    put("verify", fetched_bytes=7)
    put("stage")
    ((_, body),) = waiting(outbox)
    assert (body.steps, body.fetched_bytes) == (("fetch", "verify", "stage"), 7)


def test_what_was_read_may_have_been_sent_and_stays_also_over_a_restart(outbox: Outbox, put: Put) -> None:
    put("fetch")
    read = outbox.after(0, 10)
    assert put("verify") == 2
    outbox.close()

    again = Outbox(outbox._path, OutboxSettings())
    assert put_step(again, "stage") == 3
    assert again.after(0, 1) == read
    assert [body.steps for _, body in waiting(again)] == [("fetch",), ("verify",), ("stage",)]
    again.close()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"step": "commit"}, {"step": "roll_back"}),
        ({"step": "verify"}, {"step": "fetch"}),
        ({"step": "activate", "duration_s": 7.0}, {"step": "stage", "duration_s": 0.1}),
        ({"step": "fetch", "problem": PROBLEM}, {"step": "verify"}),
        ({"step": "fetch", "deployment": "dp-other"}, {"step": "verify"}),
    ],
    ids=["it had ended", "another try", "another try of what is there", "it had a problem", "another deployment"],
)
def test_what_is_more_than_a_step_on_the_way_is_told_by_itself(
    outbox: Outbox, put: Put, before: dict[str, Any], after: dict[str, Any]
) -> None:
    put(**before)
    put(**after)
    assert [body.steps for _, body in waiting(outbox)] == [(before["step"],), (after["step"],)]


def test_what_comes_between_two_steps_keeps_its_place(outbox: Outbox, put: Put) -> None:
    put("fetch")
    outbox.put_event(MissingArtifact(sha256="0" * 64), NOON)
    put("verify")
    assert [sequence for sequence, _ in waiting(outbox)] == [1, 3]


def test_a_step_after_one_that_the_hub_has_without_its_being_sent_is_not_lost(outbox: Outbox, put: Put) -> None:
    put("fetch")
    outbox.acknowledge(1)  # to a copy of the disk that is older than what the hub has
    assert put("verify") == 2
    assert [body.steps for _, body in waiting(outbox)] == [("verify",)]
    assert outbox._database.execute(_COUNT).fetchone() == (outbox._count, outbox._bytes)


def test_no_message_tells_of_more_steps_than_the_contract_allows(outbox: Outbox, put: Put) -> None:
    for _ in range(MAX_PASSED_STEPS + 3):
        put("probe")
    assert [len(body.passed) for _, body in waiting(outbox)] == [MAX_PASSED_STEPS, 1]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_however_steps_and_reads_alternate_every_step_is_told_once_and_what_was_read_never_changes(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    box = Outbox(tmp_path_factory.mktemp("outbox") / "outbox.sqlite", OutboxSettings())
    put: list[str] = []
    read: dict[int, bytes] = {}
    for step in data.draw(st.lists(st.sampled_from([*ALL, "fail", None, "restart"]), max_size=20)):
        if step == "restart":
            box.close()
            box = Outbox(box._path, OutboxSettings())
        elif step is not None:
            put.append(step)
            put_step(box, step)
        else:
            read |= {one.position.sequence: one.body for one in box.after(max(read, default=0), 5)}
    last = {one.position.sequence: one.body for one in box.after(0, 1000)}
    assert {sequence: last[sequence] for sequence in read} == read
    assert [step for _, body in waiting(box) for step in body.steps] == put
    assert sorted(last) == list(range(1, len(last) + 1))
    box.close()
