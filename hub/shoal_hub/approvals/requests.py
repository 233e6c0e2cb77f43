"""What waits for approval: asked for by its author, approved by others, or rejected."""

from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from shoal_hub.approvals.content import content_of, hash_content
from shoal_hub.approvals.policy import approvals_needed
from shoal_hub.approvals.tables import ApprovalGrant, ApprovalRequest, Kind, State
from shoal_hub.database import announce
from shoal_hub.errors import ConflictError, NotFoundError, RefusedError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.operators.roles import Principal, Role, Scope
from shoal_hub.operators.tables import User


def ask(
    session: Session, kind: Kind, plan: dict[str, Any], *, author: Principal, life: timedelta, now: datetime
) -> ApprovalRequest:
    """Ask for approvals of a plan; what the author has asked for in this way, and waits, is not asked for twice."""
    content = content_of(session, kind, plan)
    digest, asked_by = hash_content(content), sorted(author.holders)
    wanted = select(ApprovalRequest).where(
        ApprovalRequest.content_sha256 == digest,
        ApprovalRequest.author_id == author.id,
        ApprovalRequest.state == "pending",
        col(ApprovalRequest.expires_at) > now,
    )
    for known in session.exec(wanted):
        if known.asked_by == asked_by:
            return known
    row = ApprovalRequest(
        id=new_id("ap"),
        kind=kind,
        model=plan["model"],
        version=plan["version"],
        content=content,
        content_sha256=digest,
        needed=approvals_needed(session, plan["model"], kind),
        author_id=author.id,
        author=author.name,
        asked_by=asked_by,
        created_at=now,
        expires_at=now + life,
    )
    session.add(row)
    message = f"{author.name} asks for {row.needed} approval(s): {describe(row)}"
    _tell(session, row, "approval_asked", message)
    return row


def describe(row: ApprovalRequest) -> str:
    """Return in a few words what a request is for."""
    match row.kind:
        case "rollout":
            verb = "roll out"
        case "production":
            verb = "move to production"
        case "wave":
            plan = row.content["plan"]
            is_past_gate = plan.get("is_past_gate", False)
            what = f"let wave {plan['wave']} past the gate" if is_past_gate else f"start wave {plan['wave'] + 1}"
            verb = f"{what} of rollout {plan['rollout']} of"
    return f"{verb} {row.model} version {row.version}"


def find_request(session: Session, request_id: str, *, is_locked: bool = False) -> ApprovalRequest:
    """Return a request; locked, nobody else decides on it before this transaction has ended.

    Raises:
        NotFoundError: There is none of this id.
    """
    row = session.get(ApprovalRequest, request_id, with_for_update=is_locked or None)
    if row is None:
        raise NotFoundError(f"no approval {request_id}", "list them: shoal approvals list")
    return row


def grants_of(session: Session, request_id: str) -> list[ApprovalGrant]:
    """Return a request's approvals, the first one first."""
    wanted = select(ApprovalGrant).where(ApprovalGrant.request_id == request_id)
    return list(session.exec(wanted.order_by(col(ApprovalGrant.at))))


def approve(
    session: Session, row: ApprovalRequest, by: Principal, content_sha256: str, *, comment: str, now: datetime
) -> None:
    """Note that a person approves.

    Raises:
        RefusedError: This person may be who asked: the author, or somebody who may know the token that asked.
        ConflictError: It waits no more, this person has approved, or what they saw is not what is asked for.
    """
    _require_open(row, now)
    if by.id == row.author_id:
        raise RefusedError(f"approving {row.id}: {by.name} is its author", "ask somebody else to approve it")
    if by.holders & set(row.asked_by):
        raise RefusedError(
            f"approving {row.id}: {by.name} had a part in making the token with which {row.author} asked for it",
            f"ask somebody else to approve it, or have {row.author} ask in person",
        )
    if content_sha256 != row.content_sha256:
        raise ConflictError(
            f"approving {row.id}: {content_sha256[:16]}… was looked at, {row.content_sha256[:16]}… is asked for",
            f"look at it again: shoal approvals show {row.id}",
        )
    if session.get(ApprovalGrant, (row.id, by.id)) is not None:
        raise ConflictError(f"approving {row.id}: {by.name} has approved it", "another person has to approve it")
    session.add(ApprovalGrant(request_id=row.id, user_id=by.id, name=by.name, comment=comment, at=now))
    session.flush()
    _tell(session, row, "approval_given", f"{by.name} approves {row.id}: {describe(row)}")


def is_approved(session: Session, row: ApprovalRequest) -> bool:
    """Whether enough people have approved who still may; the policy may have come to ask for more."""
    wanted = (
        select(User.role)
        .join(ApprovalGrant, col(ApprovalGrant.user_id) == col(User.id))
        .where(ApprovalGrant.request_id == row.id, col(User.disabled_at).is_(None))
    )
    count = sum(Role(role).includes(Role.APPROVER) for role in session.exec(wanted))
    return count >= max(row.needed, approvals_needed(session, row.model, row.kind))


def reject(session: Session, row: ApprovalRequest, by: Principal, *, comment: str, now: datetime) -> None:
    """End a request undone: any approver may, and its author.

    Raises:
        RefusedError: The caller is neither.
        ConflictError: It waits no more.
    """
    if by.id != row.author_id and not by.may(Role.APPROVER, Scope.APPROVALS):
        raise RefusedError(f"rejecting {row.id}: {by.name} is neither its author nor an approver", "ask one of them")
    _require_open(row, now)
    end(session, row, "rejected", f"rejected by {by.name}{f': {comment}' if comment else ''}", now)
    _tell(session, row, "approval_rejected", f"{row.id} {row.outcome}: {describe(row)}")


def end(session: Session, row: ApprovalRequest, state: State, outcome: str, now: datetime) -> None:
    """Note how a request ended."""
    row.state, row.outcome, row.ended_at = state, outcome, now
    session.add(row)
    announce(session, "approvals")


def _require_open(row: ApprovalRequest, now: datetime) -> None:
    if row.state != "pending":
        raise ConflictError(f"deciding on {row.id}: it is {row.state}", f"see how: shoal approvals show {row.id}")
    if now >= row.expires_at:
        raise ConflictError(
            f"deciding on {row.id}: it expired at {row.expires_at:%Y-%m-%d %H:%M} UTC", f"have {row.author} ask again"
        )


def _tell(session: Session, row: ApprovalRequest, kind: str, message: str) -> None:
    record_event(session, kind, message, subject=f"approval/{row.id}")
    announce(session, "approvals")
