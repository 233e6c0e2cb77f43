"""Routes of what happens to a version: stages and their history, encryption and compression."""

from collections.abc import Collection
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from shoal_compression.compress import TECHNIQUE_NAMES, techniques_for
from shoal_contract.ids import Name
from shoal_hub.approvals.policy import approvals_needed, require_none_needed
from shoal_hub.approvals.public import WAITING, waiting
from shoal_hub.approvals.requests import ask
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, ModelOperator, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.errors import InvalidInputError
from shoal_hub.jobs.queue import enqueue
from shoal_hub.jobs.routes import JobPublic
from shoal_hub.registry.encrypt import mark_encrypted
from shoal_hub.registry.public import StageChangePublic, VersionDetail, version_detail
from shoal_hub.registry.stages import stage_history
from shoal_hub.registry.tables import Stage
from shoal_hub.registry.tracked_tables import TrackedVersion
from shoal_hub.registry.versions import find_version
from shoal_hub.requests import Line, RowNumber
from shoal_hub.rollouts.promote import promote
from shoal_hub.rollouts.start import starter_of

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
    """Which variants to make; every one that suits the version's files, if none is named."""

    techniques: Annotated[list[Name], Field(max_length=16)] = []


@router.post("/stage", response_model=StageMoved, responses=WAITING | documented(400, 401, 403, 404, 409, 413, 422))
def move_stage(
    name: Name, number: RowNumber, body: StageMove, hub: Hub, session: Writing, operator: ModelOperator
) -> StageMoved | Response:
    """Move a version to a stage; production archives the former one and starts the policy's rollout.

    Where that rollout cannot start, the version stays where it was. Where the model's policy wants approvals for
    production, they are asked for first.
    """
    now = utc_now()
    if body.stage == "production" and _waits(hub, name, number, body, operator.name):
        plan = {"model": name, "version": number, "comment": body.comment}
        life = timedelta(seconds=hub.settings.approval_life_s)
        return waiting(session, ask(session, "production", plan, author=operator, life=life, now=now), now)
    version = find_version(session, name, str(number))
    if body.stage == "production" and version.stage != "production":
        require_none_needed(session, name, "production")
    rollout = promote(
        session,
        starter_of(hub),
        version,
        body.stage,
        by=operator.name,
        comment=body.comment,
        now=now,
    )
    return StageMoved(version=version_detail(session, version), rollout=rollout)


@router.get("/history", responses=documented(401, 403, 404, 422))
def read_history(name: Name, number: RowNumber, session: Reading, _viewer: Viewer) -> list[StageChangePublic]:
    """Return a version's moves through the stages, oldest first; also of one that is tracked only."""
    tracked = session.get(TrackedVersion, (name, number))
    version = tracked if tracked is not None else find_version(session, name, str(number))
    return [StageChangePublic.model_validate(change) for change in stage_history(session, version)]


@router.post("/encrypt", responses=documented(401, 403, 404, 409, 422))
def encrypt_version(name: Name, number: RowNumber, session: Writing, operator: ModelOperator) -> VersionDetail:
    """Have a version leave the hub encrypted only; one that has been rolled out cannot be any more."""
    version = find_version(session, name, str(number))
    mark_encrypted(session, version, by=operator.name)
    return version_detail(session, version)


@router.post("/compress", status_code=202, responses=documented(400, 401, 403, 404, 413, 422))
def compress_version(
    name: Name, number: RowNumber, body: CompressRequest, session: Writing, operator: ModelOperator
) -> JobPublic:
    """Start the job that makes variants of a version."""
    version = find_version(session, name, str(number))
    params = {"version_id": version.id, "techniques": _chosen(body.techniques, version.files)}
    job = enqueue(session, "compress", f"model/{name}/{number}", params, by=operator.name)
    return JobPublic.model_validate(job, from_attributes=True)


def _chosen(techniques: list[str], files: Collection[str]) -> list[str]:
    unknown = [name for name in techniques if name not in TECHNIQUE_NAMES]
    if unknown:
        raise InvalidInputError(f"no technique {', '.join(unknown)}", f"known are {', '.join(TECHNIQUE_NAMES)}")
    return list(dict.fromkeys(techniques)) or list(techniques_for(files))


def _waits(hub: HubContext, name: str, number: int, body: StageMove, by: str) -> bool:
    """Whether a move to production has to wait; one that could not be made is refused before anybody is asked."""
    with hub.database.rehearsal() as trial:
        version = find_version(trial, name, str(number))
        if version.stage == "production" or not approvals_needed(trial, name, "production"):
            return False
        starter = starter_of(hub, is_rehearsal=True)
        promote(trial, starter, version, "production", by=by, comment=body.comment, now=utc_now())
    return True
