"""Does what was approved, in its author's name, if it still is what was approved."""

from datetime import datetime
from typing import Any

from sqlmodel import Session

from shoal_hub.approvals.content import content_of, hash_content
from shoal_hub.approvals.requests import end
from shoal_hub.approvals.tables import ApprovalRequest
from shoal_hub.errors import ConflictError
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tables import User
from shoal_hub.registry.versions import find_version
from shoal_hub.rollouts.commands import approve_wave
from shoal_hub.rollouts.promote import promote
from shoal_hub.rollouts.request import RolloutAgain
from shoal_hub.rollouts.start import Starter, find_rollout, start_request


def carry_out(session: Session, starter: Starter, row: ApprovalRequest, now: datetime) -> None:
    """Start the rollout or its wave, or move the version.

    Where that cannot be, the transaction keeps nothing, the approval neither.

    Raises:
        ConflictError: What would be done is not what was approved, its author may not do it any more, or something
            stands in the way.
        NotFoundError: A device is there no more.
    """
    plan = row.content["plan"]
    if hash_content(content_of(session, row.kind, plan)) != row.content_sha256:
        raise ConflictError(
            f"carrying out {row.id}: variants or policy of {row.model} have changed since it was asked for",
            f"reject it and have {row.author} ask again",
        )
    author = session.get_one(User, row.author_id)
    if author.disabled_at is not None or not author.role.includes(Role.OPERATOR):
        raise ConflictError(
            f"carrying out {row.id}: its author {author.name} is no operator any more",
            "reject it and have somebody else ask",
        )
    end(session, row, "done", _do(session, starter, row, plan, now), now)


def _do(session: Session, starter: Starter, row: ApprovalRequest, plan: dict[str, Any], now: datetime) -> str:
    """Do it, and return what it came to."""
    match row.kind:
        case "rollout":
            request = RolloutAgain.model_validate(plan | {"version": str(row.version)})
            return f"rollout {start_request(session, starter, request, by=row.author).id}"
        case "wave":
            rollout = find_rollout(session, plan["rollout"], is_locked=True)
            is_past_gate = plan.get("is_past_gate", False)
            approve_wave(session, rollout, plan["wave"], by=row.author, now=now, is_past_gate=is_past_gate)
            what = f"wave {plan['wave']} past its gate" if is_past_gate else f"wave {plan['wave'] + 1}"
            return f"{what} of rollout {rollout.id}"
        case "production":
            version = find_version(session, row.model, str(row.version))
            comment = plan["comment"]
            started = promote(session, starter, version, "production", by=row.author, comment=comment, now=now)
            return f"rollout {started}" if started else "moved to production"
