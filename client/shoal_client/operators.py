"""What the API says of callers, users, API tokens and approvals."""

from datetime import datetime
from typing import Any, Literal

from shoal_client.fleet import Value

Role = Literal["viewer", "operator", "approver", "admin"]
Scope = Literal["read", "devices", "enrol", "models", "rollouts", "approvals", "metrics", "admin"]


class Caller(Value):
    """Who a token speaks for, and what it may."""

    id: str
    name: str
    role: Role
    scopes: list[str]
    token_id: str


class User(Value):
    """A user; `comes_by` is `password`, `token` or the OIDC issuer."""

    id: str
    name: str
    role: Role
    comes_by: str
    created_at: datetime
    disabled_at: datetime | None


class OperatorToken(Value):
    """An API token without its secret."""

    id: str
    user: str
    label: str
    role: Role
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewOperatorToken(OperatorToken):
    """A new API token; its text is shown this once."""

    token: str


class Grant(Value):
    """One person's approval."""

    name: str
    comment: str
    at: datetime


class Approval(Value):
    """One thing that waits for approvals or did; `content` says what exactly."""

    id: str
    kind: Literal["rollout", "production", "wave"]
    model: str
    version: int
    content: dict[str, Any]
    content_sha256: str
    needed: int
    author: str
    state: Literal["pending", "done", "rejected", "expired"]
    outcome: str
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    approvals: list[Grant]


class ApprovalPolicy(Value):
    """How many people other than the author have to agree."""

    production: int = 0
    rollout: int = 0
