"""Approvals as the API shows and takes them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlmodel import Session

from shoal_contract.ids import Sha256
from shoal_hub.approvals.requests import grants_of
from shoal_hub.approvals.tables import ApprovalRequest, Kind
from shoal_hub.requests import Line

Needed = Annotated[int, Field(ge=0, le=2)]


class ApprovalPolicyPublic(BaseModel):
    """How many people other than the author have to agree before a version is production, or a rollout starts."""

    production: Needed = 0
    rollout: Needed = 0


class GrantPublic(BaseModel):
    """One person's approval."""

    name: str
    comment: str
    at: datetime


class ApprovalPublic(BaseModel):
    """One thing that waits for approvals or did; `content_sha256` is what an approver names."""

    id: str
    kind: Kind
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
    approvals: list[GrantPublic]


class Approve(BaseModel):
    """Which content was looked at, and why it is good."""

    content_sha256: Sha256
    comment: Line = ""


class Reject(BaseModel):
    """Why not."""

    comment: Line = ""


def public(session: Session, row: ApprovalRequest, now: datetime) -> ApprovalPublic:
    """Return a request with its approvals."""
    state = "expired" if row.state == "pending" and now >= row.expires_at else row.state
    approvals = [GrantPublic.model_validate(one, from_attributes=True) for one in grants_of(session, row.id)]
    return ApprovalPublic.model_validate({**row.model_dump(), "state": state, "approvals": approvals})


def waiting(session: Session, row: ApprovalRequest, now: datetime) -> JSONResponse:
    """Return the answer to a request that waits: 202, and what it waits for."""
    return JSONResponse(public(session, row, now).model_dump(mode="json"), 202)


WAITING: dict[int | str, dict[str, Any]] = {
    202: {"model": ApprovalPublic, "description": "It waits for approvals, and happens with the last one"}
}
"""For the `responses` of routes that a policy may have wait."""
