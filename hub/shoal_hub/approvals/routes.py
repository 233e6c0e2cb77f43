"""Routes of approvals: what waits, the decision on it, and each model's policy."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel import col, select

from shoal_contract.ids import Name
from shoal_hub.approvals import requests
from shoal_hub.approvals.carry_out import carry_out
from shoal_hub.approvals.policy import read_policy, set_policy
from shoal_hub.approvals.public import ApprovalPolicyPublic, ApprovalPublic, Approve, Reject, public
from shoal_hub.approvals.tables import ApprovalRequest
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Admin, ApprovalAuthor, Approver, Hub, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.requests import Line
from shoal_hub.rollouts.start import starter_of

router = APIRouter(tags=["approvals"])


@router.get("/approvals", responses=documented(401, 403, 422))
def list_approvals(
    session: Reading,
    _viewer: Viewer,
    model: Line | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[ApprovalPublic]:
    """List what waits or waited for approvals, newest first."""
    wanted = select(ApprovalRequest).order_by(col(ApprovalRequest.created_at).desc(), ApprovalRequest.id).limit(limit)
    if model is not None:
        wanted = wanted.where(ApprovalRequest.model == model)
    return [public(session, row, utc_now()) for row in session.exec(wanted)]


@router.get("/approvals/{approval_id}", responses=documented(401, 403, 404, 422))
def read_approval(approval_id: Line, session: Reading, _viewer: Viewer) -> ApprovalPublic:
    """Return one request with what exactly is asked for, and who has approved."""
    return public(session, requests.find_request(session, approval_id), utc_now())


@router.post("/approvals/{approval_id}/approve", responses=documented(400, 401, 403, 404, 409, 413, 422))
def approve(approval_id: Line, body: Approve, hub: Hub, session: Writing, approver: Approver) -> ApprovalPublic:
    """Approve what was looked at. The last approval has it done; where that cannot be, it is not kept and says why."""
    now = utc_now()
    row = requests.find_request(session, approval_id, is_locked=True)
    requests.approve(session, row, approver, body.content_sha256, comment=body.comment, now=now)
    if requests.is_approved(session, row):
        carry_out(session, starter_of(hub), row, now)
    return public(session, row, now)


@router.post("/approvals/{approval_id}/reject", responses=documented(400, 401, 403, 404, 409, 413, 422))
def reject(approval_id: Line, body: Reject, session: Writing, caller: ApprovalAuthor) -> ApprovalPublic:
    """End a request undone; its author may, and every approver."""
    row = requests.find_request(session, approval_id, is_locked=True)
    requests.reject(session, row, caller, comment=body.comment, now=utc_now())
    return public(session, row, utc_now())


@router.get("/models/{name}/approval-policy", responses=documented(401, 403, 404, 422))
def read_approval_policy(name: Name, session: Reading, _viewer: Viewer) -> ApprovalPolicyPublic:
    """Return how many approvals a model asks for."""
    return ApprovalPolicyPublic.model_validate(read_policy(session, name), from_attributes=True)


@router.put("/models/{name}/approval-policy", responses=documented(400, 401, 403, 404, 413, 422))
def set_approval_policy(name: Name, body: ApprovalPolicyPublic, session: Writing, admin: Admin) -> ApprovalPolicyPublic:
    """Set how many approvals a model asks for: none, one or two."""
    row = set_policy(session, name, production=body.production, rollout=body.rollout, by=admin.name)
    return ApprovalPolicyPublic.model_validate(row, from_attributes=True)
