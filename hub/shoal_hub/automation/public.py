"""Policies and runs as the API takes and shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, Field
from sqlmodel import Session, col, select

from shoal_contract.ids import Sha256
from shoal_hub.automation.begin import Doing
from shoal_hub.automation.machine import RunState, StepState
from shoal_hub.automation.policy import Policy
from shoal_hub.automation.runs import policy_of, steps_of, view_run
from shoal_hub.automation.step_facts import read_step
from shoal_hub.automation.steps import StepKind
from shoal_hub.automation.story import Line as StoryLine
from shoal_hub.automation.story import tell
from shoal_hub.automation.tables import (
    AutomationRun,
    AutomationStep,
    DecisionRow,
    Outcome,
    PolicyRow,
    StepApproval,
)
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.requests import Line

SHOWN: Final = 20
"""Decisions and runs that a policy is shown with."""


class DecisionPublic(BaseModel):
    """What looks at a policy came to, from the first one to the last one in a row."""

    at: datetime
    last_at: datetime
    revision: int
    outcome: Outcome
    decision: dict[str, Any]
    """Conditions and guards, each with `holds`, `reason` and `facts`; `reason` in one sentence."""


class RunSummary(BaseModel):
    """A run of a policy."""

    id: str
    policy: str
    revision: int
    model: str
    state: RunState
    step: StepKind | None
    """At work, waiting or where it ended; none before the first and after the last one."""
    champion: int | None
    candidate: int | None
    reason: str
    """Why it ended; empty before."""
    why: str
    """It began."""
    created_at: datetime
    ended_at: datetime | None


class PolicySummary(BaseModel):
    """A policy as it stands."""

    name: str
    model: str
    revision: int
    is_enabled: bool
    policy: Policy
    set_by: str
    set_at: datetime
    decision: DecisionPublic | None
    """What the last look came to."""
    last_run: RunSummary | None


class PolicyDetail(PolicySummary):
    """A policy with what looks at it came to lately, and its runs, the newest first."""

    decisions: list[DecisionPublic]
    runs: list[RunSummary]


class ApprovalPublic(BaseModel):
    """One person's approval of a step."""

    name: str
    comment: str
    at: datetime


class StepPublic(BaseModel):
    """One step of a run: why it was taken, what it began, what it came to."""

    position: int
    kind: StepKind
    state: StepState
    attempt: int
    why: str
    links: dict[str, Any]
    """Ids of what it began: `job`, `federated_run`, `trial`, `rollout`, `deliveries`."""
    result: dict[str, Any]
    now: str
    """How what it began stands; empty unless it is at work."""
    approvals_needed: int
    approvals: list[ApprovalPublic]
    content_sha256: str
    """Of what people approve; empty unless it waited."""
    waiting_since: datetime | None
    begun_at: datetime | None
    ended_at: datetime | None


class RunDetail(RunSummary):
    """A run with its full history."""

    trigger: dict[str, Any]
    """The decision by which it began."""
    steps: list[StepPublic]
    story: list[StoryLine]
    """In plain sentences, with times."""


class ApproveStep(BaseModel):
    """Which content was looked at, and why it is good."""

    content_sha256: Sha256
    comment: Line = ""


class DryRunAsk(BaseModel):
    """Which policy, over which past period."""

    policy: Policy
    since: AwareDatetime
    until: AwareDatetime | None = None
    """Left out, now."""
    every_s: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    """Between two looks."""


def policy_summary(session: Session, row: PolicyRow) -> PolicySummary:
    """Return a policy as lists show it."""
    return PolicySummary(
        name=row.name,
        model=row.model,
        revision=row.revision,
        is_enabled=row.is_enabled,
        policy=Policy.model_validate(row.body),
        set_by=row.set_by,
        set_at=row.set_at,
        decision=next(iter(_decisions(session, row.name, 1)), None),
        last_run=next(iter(list_runs(session, policy=row.name, limit=1)), None),
    )


def policy_detail(session: Session, row: PolicyRow) -> PolicyDetail:
    """Return a policy with its history."""
    return PolicyDetail(
        **dict(policy_summary(session, row)),
        decisions=_decisions(session, row.name, SHOWN),
        runs=list_runs(session, policy=row.name, limit=SHOWN),
    )


def list_runs(session: Session, *, policy: str = "", state: RunState | None = None, limit: int) -> list[RunSummary]:
    """Return runs, the newest first."""
    wanted = select(AutomationRun).order_by(col(AutomationRun.created_at).desc(), col(AutomationRun.id)).limit(limit)
    if policy:
        wanted = wanted.where(AutomationRun.policy == policy)
    if state is not None:
        wanted = wanted.where(AutomationRun.state == state)
    return [run_summary(row, steps_of(session, row.id)) for row in session.exec(wanted).all()]


def run_summary(row: AutomationRun, steps: Sequence[AutomationStep]) -> RunSummary:
    """Return a run as lists show it."""
    current = next((step.kind for step in steps if step.state != "done"), None)
    why = str(row.trigger.get("reason", ""))
    return RunSummary.model_validate(row.model_dump() | {"step": current, "why": why})


def run_detail(session: Session, hub: HubContext, row: AutomationRun) -> RunDetail:
    """Return a run with its full history, and how its present step stands."""
    steps, policy = steps_of(session, row.id), policy_of(session, row)
    view = view_run(session, row, steps, policy)
    wanted = select(StepApproval).where(StepApproval.run_id == row.id).order_by(col(StepApproval.at))
    approvals = session.exec(wanted).all()
    shown = []
    for step, seen in zip(steps, view.steps, strict=True):
        is_at_work = step.state == "working"
        now = read_step(Doing(session, hub, policy, row, step, utc_now()), seen.body).reason if is_at_work else ""
        mine = [one for one in approvals if (one.position, one.attempt) == (step.position, step.attempt)]
        more = {"now": now, "approvals_needed": view.needs_approval.get(step.position, 0)}
        given = [ApprovalPublic.model_validate(one, from_attributes=True) for one in mine]
        shown.append(StepPublic.model_validate(step.model_dump() | more | {"approvals": given}))
    return RunDetail(
        **dict(run_summary(row, steps)), trigger=row.trigger, steps=shown, story=tell(row, steps, approvals)
    )


def _decisions(session: Session, name: str, limit: int) -> list[DecisionPublic]:
    wanted = select(DecisionRow).where(DecisionRow.policy == name).order_by(col(DecisionRow.id).desc()).limit(limit)
    return [DecisionPublic.model_validate(row, from_attributes=True) for row in session.exec(wanted)]
