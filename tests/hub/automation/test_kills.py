"""A controller that is killed at any point: no step is done twice, no budget is exceeded, one run goes on at a time."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import event
from sqlmodel import Session, col, delete, select
from tests.hub.automation.loops import MODEL, Loop, principal

from shoal_hub.automation.commands import approve_step, retry_run, stop_run
from shoal_hub.automation.policies import remove_policy
from shoal_hub.automation.runs import find_run
from shoal_hub.automation.tables import (
    AutomationRun,
    AutomationStep,
    DecisionRow,
    PolicyRevision,
    PolicyRow,
    StepApproval,
)
from shoal_hub.captures.tables import CaptureRequest
from shoal_hub.context import HubContext
from shoal_hub.devices.tables import Intent
from shoal_hub.federation.tables import FederatedRun
from shoal_hub.jobs.tables import Job
from shoal_hub.monitoring.tables import DriftSignal
from shoal_hub.operators.roles import Principal, Role

COOL_DOWN_S = 900
RUNS, PER_S = 2, 7200
THEN = [
    {"kind": "capture", "for_s": 60},
    {"kind": "federated", "rounds": 1, "min_devices": 1},
    {"kind": "notify", "text": "done"},
]
GUARDS = {
    "cool_down_s": COOL_DOWN_S,
    "budget": {"runs": RUNS, "per_s": PER_S},
    "approval": ["federated"],
    "approval_wait_s": 1200,
    "beat_champion": None,
}


class KilledError(Exception):
    """The process ends here."""


class Killer:
    """Ends the controller at one of its next commits, before it or right after it."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.left, self.is_after = loop, -1, False
        loop.hub.database.on_begin = self._watch

    def arm(self, commits: int, *, is_after: bool) -> None:
        self.left, self.is_after = commits, is_after

    def _watch(self, session: Session) -> None:
        event.listen(session, "after_commit" if self.is_after else "before_commit", self._strike)

    def _strike(self, _session: Session) -> None:
        if self.left == 0:
            self.left = -1
            raise KilledError
        self.left -= self.left > 0


class Controllers(RuleBasedStateMachine):
    """Controllers of one fleet, each until it is killed; jobs end, people approve, drift comes and goes."""

    loop: Loop
    killer: Killer
    approver: Principal

    def __init__(self) -> None:
        super().__init__()
        self.loop.set(then=THEN, guards=GUARDS)
        self.loop.automation = self.loop.new_controller()
        self.ended_federated: set[str] = set()

    def teardown(self) -> None:
        self.killer.arm(-1, is_after=False)
        with self.loop.hub.database.transaction() as session:
            for table in (StepApproval, AutomationStep, AutomationRun, DecisionRow, PolicyRow, PolicyRevision):
                session.exec(delete(table))
            for other in (FederatedRun, Job, CaptureRequest, Intent, DriftSignal):
                session.exec(delete(other))
        self.loop.now += timedelta(days=30)

    @rule(after_s=st.sampled_from([2.0, 30.0, 400.0, 1000.0]))
    def pass_time(self, after_s: float) -> None:
        self.loop.step(after_s)

    @rule(commits=st.integers(0, 4), is_after=st.booleans(), after_s=st.sampled_from([2.0, 61.0]))
    def kill(self, commits: int, is_after: bool, after_s: float) -> None:
        self.killer.arm(commits, is_after=is_after)
        try:
            self.loop.step(after_s)
        except KilledError:
            self.loop.automation = self.loop.new_controller()
        self.killer.arm(-1, is_after=False)

    @rule()
    def drift(self) -> None:
        with self.loop.hub.database.session() as session:
            if session.exec(select(DriftSignal).where(DriftSignal.state == "active")).first() is None:
                session.close()
                self.loop.drift()

    @rule()
    def calm(self) -> None:
        self.loop.calm()

    @precondition(lambda self: any(run.state == "running" for run in self.loop.federated()))
    @rule(is_good=st.booleans())
    def end_training(self, is_good: bool) -> None:
        with self.loop.hub.database.transaction() as session:
            run = session.exec(select(FederatedRun).where(FederatedRun.state == "running")).one()
            job = session.get_one(Job, run.job_id)
            run.state, run.ended_at, run.reason = ("succeeded" if is_good else "failed"), self.loop.now, "as drawn"
            run.result_version = 1 if is_good else None
            job.state = run.state  # type: ignore[assignment]
            session.add(run)
            session.add(job)

    @precondition(lambda self: any(run.state == "waiting" for run in self.loop.runs()))
    @rule()
    def approve(self) -> None:
        [run] = [one for one in self.loop.runs() if one.state == "waiting"]
        [step] = [one for one in self.loop.steps(run.id) if one.state == "waiting"]
        with self.loop.hub.database.transaction() as session:
            row = find_run(session, run.id, is_locked=True)
            key = (run.id, step.position, step.attempt, self.approver.id)
            if session.get(StepApproval, key) is None:
                approve_step(session, row, step.content_sha256, by=self.approver, comment="", now=self.loop.now)

    @precondition(lambda self: any(run.ended_at is None for run in self.loop.runs()))
    @rule()
    def stop(self) -> None:
        [run] = [one for one in self.loop.runs() if one.ended_at is None]
        with self.loop.hub.database.transaction() as session:
            stop_run(session, self.loop.hub, run.id, by="ada", now=self.loop.now)

    @precondition(lambda self: bool(self.loop.runs()) and self.loop.runs()[-1].state == "failed")
    @rule()
    def retry(self) -> None:
        with self.loop.hub.database.transaction() as session:
            retry_run(session, self.loop.runs()[-1].id, by="ada", now=self.loop.now)

    @invariant()
    def one_run_goes_on_at_most(self) -> None:
        assert sum(run.ended_at is None for run in self.loop.runs()) <= 1

    @invariant()
    def no_step_is_done_twice(self) -> None:
        steps = [step for run in self.loop.runs() for step in self.loop.steps(run.id)]
        began = [step for step in steps if step.kind == "federated" and "federated_runs" in step.links]
        linked = [one for step in began for one in step.links["federated_runs"]]
        assert sorted(linked) == sorted(run.id for run in self.loop.federated()), "each is a step's, and known to it"
        assert max(Counter(linked).values(), default=0) <= 1
        assert all(len(step.links["federated_runs"]) <= step.attempt for step in began)

    @invariant()
    def what_no_step_wants_is_not_asked_for(self) -> None:
        with self.loop.hub.database.session() as session:
            is_asked = session.get(CaptureRequest, MODEL) is not None
        steps = [step for run in self.loop.runs() for step in self.loop.steps(run.id)]
        assert is_asked == any(step.kind == "capture" and step.state == "working" for step in steps)

    @invariant()
    def budget_and_cool_down_are_kept(self) -> None:
        runs = self.loop.runs()
        for run in runs:
            recent = [
                one for one in runs if run.created_at - timedelta(seconds=PER_S) < one.created_at <= run.created_at
            ]
            assert len(recent) <= RUNS
            before = [one for one in runs if one.created_at < run.created_at]
            first_ended = [one.ended_at for one in before if one.ended_at and one.ended_at <= run.created_at]
            cool_down = timedelta(seconds=COOL_DOWN_S)
            assert all(run.created_at >= ended_at + cool_down for ended_at in first_ended)

    @invariant()
    def nothing_trains_that_nobody_approved(self) -> None:
        with self.loop.hub.database.session() as session:
            approved = {(one.run_id, one.position) for one in session.exec(select(StepApproval)).all()}
        began = [
            (step.run_id, step.position)
            for run in self.loop.runs()
            for step in self.loop.steps(run.id)
            if step.kind == "federated" and step.begun_at is not None
        ]
        assert set(began) <= approved


@pytest.fixture
def machine(sqlite_hub: HubContext, tmp_path: Path) -> Iterator[type[Controllers]]:
    loop = Loop(sqlite_hub, tmp_path)
    with sqlite_hub.database.transaction() as session:
        approver = principal(session, "eve", Role.APPROVER)
    killer = Killer(loop)
    yield type("Controllers", (Controllers,), {"loop": loop, "killer": killer, "approver": approver})
    sqlite_hub.database.on_begin = None


def test_no_kill_has_a_step_done_twice_or_a_guard_passed_by(machine: type[Controllers]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("commits", [0, 1, 3])
def test_a_run_that_is_killed_at_each_commit_comes_to_the_same_end(
    sqlite_loop: Loop, commits: int, is_after: bool
) -> None:
    loop, killer = sqlite_loop, Killer(sqlite_loop)
    loop.set(then=THEN, guards=GUARDS | {"approval": []})
    loop.drift()
    for _ in range(3):
        killer.arm(commits, is_after=is_after)
        try:
            loop.step(61)
        except KilledError:
            loop.automation = loop.new_controller()
    killer.arm(-1, is_after=False)
    for _ in range(3):
        loop.step(61)
    assert len(loop.federated()) == 1
    loop.end_federated()
    loop.step()
    [run] = loop.runs()
    assert run.state == "succeeded"
    assert [one.attempt for one in loop.steps()] == [1, 1, 1]
    with loop.hub.database.transaction() as session:
        remove_policy(session, "learn", by="ada", now=loop.now)
        assert session.exec(select(PolicyRow).where(col(PolicyRow.name) == "learn")).all() == []
