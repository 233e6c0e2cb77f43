"""Routes of what happens to a version: stages and their history, and compression."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlmodel import Session

from shoal_compression.compress import TECHNIQUES
from shoal_contract.ids import Name
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Operator, Reading, Writing
from shoal_hub.error_response import documented
from shoal_hub.errors import InvalidInputError
from shoal_hub.jobs.queue import enqueue
from shoal_hub.jobs.routes import JobPublic
from shoal_hub.registry.public import StageChangePublic, VersionDetail, version_detail
from shoal_hub.registry.stages import RolloutPolicy, change_stage, stage_history
from shoal_hub.registry.tables import Stage, Version
from shoal_hub.registry.versions import find_model, find_version
from shoal_hub.requests import Line, RowNumber
from shoal_hub.rollouts.start import Starter, start_rollout

router = APIRouter(prefix="/models/{name}/versions/{number}", tags=["models"])


class StageMove(BaseModel):
    """Where a version goes, and why."""

    stage: Stage
    comment: Line = ""


class StageMoved(BaseModel):
    """The version after its move, and the rollout that the model's policy started."""

    version: VersionDetail
    rollout: str | None


class CompressRequest(BaseModel):
    """Which variants to make; every one that the hub can make, if none is named."""

    techniques: Annotated[list[Name], Field(max_length=16)] = []


@router.post("/stage", responses=documented(401, 404, 409, 422))
def move_stage(
    name: Name, number: RowNumber, body: StageMove, hub: Hub, session: Writing, operator: Operator
) -> StageMoved:
    """Move a version to a stage; production archives the former one and starts the policy's rollout.

    Where that rollout cannot start, the version stays where it was.
    """
    version = find_version(session, name, str(number))
    has_moved = change_stage(session, version, body.stage, by=operator.name, comment=body.comment, now=utc_now())
    rollout = None
    if has_moved and body.stage == "production":
        rollout = _start_by_policy(hub, session, version, operator.name)
    return StageMoved(version=version_detail(session, version), rollout=rollout)


@router.get("/history", responses=documented(401, 404, 422))
def read_history(name: Name, number: RowNumber, session: Reading, _operator: Operator) -> list[StageChangePublic]:
    """Return a version's moves through the stages, oldest first."""
    version = find_version(session, name, str(number))
    return [StageChangePublic.model_validate(change) for change in stage_history(session, version)]


@router.post("/compress", status_code=202, responses=documented(401, 404, 422))
def compress_version(
    name: Name, number: RowNumber, body: CompressRequest, session: Writing, operator: Operator
) -> JobPublic:
    """Start the job that makes variants of a version."""
    version = find_version(session, name, str(number))
    params = {"version_id": version.id, "techniques": _chosen(body.techniques)}
    job = enqueue(session, "compress", f"model/{name}/{number}", params, by=operator.name)
    return JobPublic.model_validate(job, from_attributes=True)


def _chosen(techniques: list[str]) -> list[str]:
    unknown = [name for name in techniques if name not in TECHNIQUES]
    if unknown:
        raise InvalidInputError(f"no technique {', '.join(unknown)}", f"known are {', '.join(TECHNIQUES)}")
    return list(dict.fromkeys(techniques)) or list(TECHNIQUES)


def _start_by_policy(hub: HubContext, session: Session, version: Version, by: str) -> str | None:
    model = find_model(session, version.model)
    if model.rollout_on_production is None:
        return None
    policy = RolloutPolicy.model_validate(model.rollout_on_production)
    started = start_rollout(
        session,
        Starter(hub.artifacts, hub.trust, hub.settings.retained_budget_bytes),
        model=version.model,
        version=str(version.number),
        waves=policy.waves,
        max_failures=policy.max_failures,
        timeout_s=policy.timeout_s,
        by=by,
    )
    return started.id
