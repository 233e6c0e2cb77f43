"""Policies with their revisions, what looks at them came to, and runs with the steps that they took."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, Index, Integer, String, text
from sqlmodel import Field, SQLModel

from shoal_hub.automation.machine import RunState, StepState
from shoal_hub.automation.steps import StepKind
from shoal_hub.database import UNAUDITED, UtcDateTime

JsonObject = dict[str, Any]
Outcome = Literal["fired", "held_back", "quiet"]
_IS_OPEN = text("state IN ('running', 'waiting')")


class PolicyRow(SQLModel, table=True):
    """A policy as it stands; `automation_revisions` has what it was."""

    __tablename__ = "automation_policies"

    name: str = Field(primary_key=True)
    model: str = Field(foreign_key="models.name", index=True)
    revision: int = Field(description="rises with each change")
    body: JsonObject = Field(sa_type=JSON, description="Policy")
    is_enabled: bool = True
    set_by: str
    set_by_id: str = Field(description="of the user, who has to be an operator still when it acts")
    holders: list[str] = Field(sa_type=JSON, description="ids of the users who may have set it: `Principal.holders`")
    set_at: datetime = Field(sa_type=UtcDateTime)
    since: datetime = Field(sa_type=UtcDateTime, description="from when on it looks: last set or enabled")


class PolicyRevision(SQLModel, table=True):
    """What a policy was from one change to the next."""

    __tablename__ = "automation_revisions"

    name: str = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    body: JsonObject = Field(sa_type=JSON)
    set_by: str
    set_at: datetime = Field(sa_type=UtcDateTime)


class DecisionRow(SQLModel, table=True):
    """What a look at a policy came to; a row for each time that the outcome or what holds it back has changed."""

    __tablename__ = "automation_decisions"
    # What looks came to; what was done of it, a run, is audited.
    __table_args__ = (Index("ix_automation_decisions_policy", "policy", "id"), {"info": UNAUDITED})

    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer(), "sqlite"))
    policy: str
    revision: int
    at: datetime = Field(sa_type=UtcDateTime, description="of the first look that came to it")
    last_at: datetime = Field(sa_type=UtcDateTime, description="of the last one")
    outcome: Outcome = Field(sa_type=String)
    mark: str = Field(description="which conditions and guards hold; the row stands as long as that does")
    decision: JsonObject = Field(sa_type=JSON, description="Decision")


class AutomationRun(SQLModel, table=True):
    """One run of a policy. At most one of a policy is open."""

    __tablename__ = "automation_runs"
    __table_args__ = (
        Index("ix_automation_runs_open", "policy", unique=True, sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
        Index("ix_automation_runs_policy", "policy", "created_at"),
    )

    id: str = Field(primary_key=True)
    policy: str
    revision: int
    model: str = Field(foreign_key="models.name", index=True)
    state: RunState = Field(default="running", sa_type=String, index=True)
    trigger: JsonObject = Field(sa_type=JSON, description="Decision by which it began")
    champion: int | None = None
    candidate: int | None = None
    reason: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class AutomationStep(SQLModel, table=True):
    """One step of a run, with why it was taken, what it began and what it came to."""

    __tablename__ = "automation_steps"

    run_id: str = Field(primary_key=True, foreign_key="automation_runs.id")
    position: int = Field(primary_key=True)
    kind: StepKind = Field(sa_type=String)
    body: JsonObject = Field(sa_type=JSON, description="PolicyStep")
    state: StepState = Field(default="pending", sa_type=String)
    attempt: int = 1
    why: str = ""
    links: JsonObject = Field(default_factory=dict, sa_type=JSON, description="ids of what it began: job, rollout, …")
    result: JsonObject = Field(default_factory=dict, sa_type=JSON)
    content_sha256: str = Field(default="", description="of what people approve; empty before it waits")
    waiting_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    begun_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class StepApproval(SQLModel, table=True):
    """One person's approval of one attempt at a step."""

    __tablename__ = "automation_approvals"

    run_id: str = Field(primary_key=True, foreign_key="automation_runs.id")
    position: int = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    user_id: str = Field(primary_key=True)
    name: str
    comment: str
    content_sha256: str
    at: datetime = Field(sa_type=UtcDateTime)
