"""Moves a version to a stage, with the rollout that its model's policy starts when it becomes production."""

from datetime import datetime

from sqlmodel import Session

from shoal_hub.registry.fairness import check_fair
from shoal_hub.registry.stages import RolloutPolicy, change_stage
from shoal_hub.registry.tables import Stage, Version
from shoal_hub.registry.versions import find_model
from shoal_hub.rollouts.start import Starter, start_rollout


def promote(
    session: Session,
    starter: Starter,
    version: Version,
    stage: Stage,
    *,
    by: str,
    comment: str,
    now: datetime,
) -> str | None:
    """Move a version; production archives the former one. Where the policy's rollout cannot start, nothing moves.

    Returns:
        The id of the rollout that started, if one did.

    Raises:
        ConflictError: The rollout cannot start, or production asks for more fairness than the model card tells.
    """
    if stage == "production":
        check_fair(version, is_required=starter.is_fairness_required)
    has_moved = change_stage(session, version, stage, by=by, comment=comment, now=now)
    policy = find_model(session, version.model).rollout_on_production
    if not has_moved or stage != "production" or policy is None:
        return None
    plan = RolloutPolicy.model_validate(policy)
    started = start_rollout(
        session,
        starter,
        model=version.model,
        version=str(version.number),
        waves=list(plan.waves),
        max_failures=plan.max_failures,
        timeout_s=plan.timeout_s,
        by=by,
    )
    return started.id
