"""Policies by model, what waits for approval, and who has approved it."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UtcDateTime

Kind = Literal["rollout", "production", "wave"]
State = Literal["pending", "done", "rejected"]


class ApprovalPolicy(SQLModel, table=True):
    """How many people other than the author have to agree; a model without a row asks nobody."""

    __tablename__ = "approval_policies"

    model: str = Field(primary_key=True, foreign_key="models.name")
    production: int = 0
    rollout: int = 0


class ApprovalRequest(SQLModel, table=True):
    """One thing that waits: `content` says what exactly, and its hash is what people approve."""

    __tablename__ = "approval_requests"

    id: str = Field(primary_key=True)
    kind: Kind = Field(sa_type=String)
    model: str = Field(foreign_key="models.name", index=True)
    version: int
    content: dict[str, Any] = Field(sa_type=JSON)
    content_sha256: str
    needed: int
    author_id: str = Field(foreign_key="users.id")
    author: str
    asked_by: list[str] = Field(sa_type=JSON, description="ids of the users who may have asked: `Principal.holders`")
    state: State = Field(default="pending", sa_type=String, index=True)
    outcome: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ApprovalGrant(SQLModel, table=True):
    """One person's approval: the key lets nobody count twice."""

    __tablename__ = "approval_grants"

    request_id: str = Field(primary_key=True, foreign_key="approval_requests.id")
    user_id: str = Field(primary_key=True, foreign_key="users.id")
    name: str
    comment: str
    at: datetime = Field(sa_type=UtcDateTime)
