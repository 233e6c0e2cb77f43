"""A run of a policy as a state machine: (run, facts, clock) to (run, effects). Pure; `chore.py` keeps and carries out.

What an effect begins is written in the transaction that notes that it has begun, so that a kill at any point leaves
either both or neither, and no step is done twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from shoal_hub.automation.decide import Verdict
from shoal_hub.automation.steps import PolicyStep

RunState = Literal["running", "waiting", "succeeded", "rejected", "failed", "stopped"]
"""`waiting`: for a person's approval; `rejected`: the candidate was not better than the champion."""
StepState = Literal["pending", "waiting", "working", "done", "rejected", "failed", "stopped"]
OPEN: Final[frozenset[str]] = frozenset({"running", "waiting"})


@dataclass(frozen=True)
class StepView:
    """One step of a run.

    Attributes:
        position: From 0.
        body: What was planned.
        state: How it stands.
        attempt: From 1; an operator's retry is another one.
        why: Why it was taken, or waits.
        result: What it came to.
        waiting_since: When it began to wait for approval.
        begun_at: When it began.
        ended_at: When it ended.
    """

    position: int
    body: PolicyStep
    state: StepState = "pending"
    attempt: int = 1
    why: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    waiting_since: datetime | None = None
    begun_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class RunView:
    """A run.

    Attributes:
        state: How it stands.
        steps: All of them, in order.
        champion: The version that serves.
        candidate: The version that it has made; None before.
        needs_approval: Positions of steps that wait for people, and for how many.
        reason: Why it ended.
        ended_at: When.
    """

    state: RunState
    steps: tuple[StepView, ...]
    champion: int | None
    candidate: int | None = None
    needs_approval: dict[int, int] = field(default_factory=dict)
    approval_wait_s: float = 0.0
    step_timeout_s: float = 0.0
    reason: str = ""
    ended_at: datetime | None = None

    @property
    def current(self) -> StepView | None:
        """The step that is at work, waits or comes next; None once all are done."""
        return next((step for step in self.steps if step.state != "done"), None)


@dataclass(frozen=True)
class StepFacts:
    """What is known of the step at work.

    Attributes:
        status: How what it began stands.
        reason: Why it stands so.
        result: What it came to.
        candidate: The version that it has made.
        verdict: Whether the candidate passes a guard, where the step is to show that.
    """

    status: Literal["working", "succeeded", "failed"]
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    candidate: int | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class BeginStep:
    """Begin what a step does. It has begun when the transaction is committed, and never again."""

    position: int


@dataclass(frozen=True)
class EndStep:
    """Take back what a step still wants: it has ended, was given up, or has seen enough."""

    position: int


@dataclass(frozen=True)
class TellEnd:
    """Tell people how the run ended."""

    state: RunState
    reason: str


@dataclass(frozen=True)
class AskApproval:
    """Tell people that a step waits for them."""

    position: int


Effect = BeginStep | EndStep | TellEnd | AskApproval


@dataclass(frozen=True)
class Advance:
    """A run after one move, and what has to be done with it."""

    run: RunView
    effects: tuple[Effect, ...] = ()


def advance(run: RunView, facts: StepFacts | None, approvals: int, now: datetime) -> Advance:
    """Take a run one move on; the same run comes back where nothing is to be done.

    Args:
        run: As it stands.
        facts: Of the step at work; None where none is.
        approvals: How many people have approved the step that waits.
        now: The clock.
    """
    if run.state not in OPEN:
        return Advance(run)
    step = run.current
    if step is None:
        return _end(run, "succeeded", "every step is done", now)
    match step.state:
        case "pending":
            return _begin_or_wait(run, step, approvals, now)
        case "waiting":
            return _look_at_approvals(run, step, approvals, now)
        case _:
            return _look_at_step(run, step, facts or StepFacts("working"), now)


def fail_to_begin(run: RunView, position: int, reason: str, now: datetime) -> Advance:
    """Return a run whose step could not begin: nothing of it was kept."""
    return _fail(run, run.steps[position], f"could not begin: {reason}", now, "failed", [])


def stop(run: RunView, by: str, now: datetime) -> Advance:
    """Return a run that a person has stopped, and what that takes back."""
    step = run.current
    if step is None:
        return _end(run, "stopped", f"stopped by {by}", now)
    is_at_work = step.state == "working"
    ended = replace(step, state="stopped", ended_at=now, result=step.result | {"reason": f"stopped by {by}"})
    effects: tuple[Effect, ...] = (EndStep(step.position),) if is_at_work else ()
    return Advance(
        replace(_with(run, ended), state="stopped", reason=f"stopped by {by}", ended_at=now),
        effects,
    )


def retry(run: RunView, by: str) -> RunView:
    """Return a failed run whose failed step is to be tried again, with all that came before it kept."""
    step = run.current
    if step is None or run.state not in {"failed", "rejected"}:
        return run
    again = StepView(step.position, step.body, attempt=step.attempt + 1, why=f"tried again by {by}")
    return replace(_with(run, again), state="running", reason="", ended_at=None)


def _begin_or_wait(run: RunView, step: StepView, approvals: int, now: datetime) -> Advance:
    needed = run.needs_approval.get(step.position, 0)
    if approvals < needed:
        why = f"waits for {needed} approval{'s' if needed > 1 else ''}"
        waiting = replace(step, state="waiting", why=why, waiting_since=now)
        return Advance(replace(_with(run, waiting), state="waiting"), (AskApproval(step.position),))
    return _begin(run, step, now)


def _look_at_approvals(run: RunView, step: StepView, approvals: int, now: datetime) -> Advance:
    if approvals >= run.needs_approval.get(step.position, 0):
        return _begin(run, step, now)
    since = step.waiting_since or now
    if now - since >= timedelta(seconds=run.approval_wait_s):
        reason = f"nobody approved it within {run.approval_wait_s:g} s"
        return _fail(run, step, reason, now, "failed", [])
    return Advance(run)


def _begin(run: RunView, step: StepView, now: datetime) -> Advance:
    working = replace(step, state="working", begun_at=now)
    return Advance(replace(_with(run, working), state="running"), (BeginStep(step.position),))


def _look_at_step(run: RunView, step: StepView, facts: StepFacts, now: datetime) -> Advance:
    begun = step.begun_at or now
    if facts.status == "working":
        if run.step_timeout_s and now - begun >= timedelta(seconds=run.step_timeout_s):
            reason = f"it took longer than {run.step_timeout_s:g} s"
            return _fail(run, step, reason, now, "failed", [EndStep(step.position)])
        return Advance(run)
    result = step.result | facts.result | ({"reason": facts.reason} if facts.reason else {})
    if facts.status == "failed":
        return _fail(run, replace(step, result=result), facts.reason, now, "failed", [EndStep(step.position)])
    if facts.verdict is not None:
        result |= {"verdict": facts.verdict.model_dump(mode="json")}
        if not facts.verdict.holds:
            rejected = replace(step, result=result)
            return _fail(run, rejected, facts.verdict.reason, now, "rejected", [EndStep(step.position)])
    done = replace(step, state="done", result=result, ended_at=now)
    moved = replace(_with(run, done), candidate=facts.candidate if facts.candidate is not None else run.candidate)
    return Advance(moved, (EndStep(step.position),))


def _fail(
    run: RunView,
    step: StepView,
    reason: str,
    now: datetime,
    state: Literal["failed", "rejected"],
    effects: Sequence[Effect],
) -> Advance:
    result = step.result | {"reason": reason}
    ended = replace(step, state=state, result=result, ended_at=now)
    told = f"{step.body.kind}: {reason}"
    over = replace(_with(run, ended), state=state, reason=told, ended_at=now)
    return Advance(over, (*effects, TellEnd(state, told)))


def _end(run: RunView, state: RunState, reason: str, now: datetime) -> Advance:
    return Advance(replace(run, state=state, reason=reason, ended_at=now), (TellEnd(state, reason),))


def _with(run: RunView, step: StepView) -> RunView:
    steps = tuple(step if one.position == step.position else one for one in run.steps)
    return replace(run, steps=steps)
