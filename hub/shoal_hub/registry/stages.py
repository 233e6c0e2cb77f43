"""Stages: a version's move, who made it and why; what becomes production may start a rollout by the model's policy."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session, col, select

from shoal_hub.database import announce
from shoal_hub.events.record import record_event
from shoal_hub.registry.tables import Stage, StageChange, Version
from shoal_hub.registry.tracked_tables import TrackedVersion
from shoal_hub.requests import RowNumber


class RolloutPolicy(BaseModel):
    """The rollout that starts when a version becomes production."""

    model_config = ConfigDict(frozen=True)

    waves: tuple[RowNumber, ...] = Field(default=(), max_length=64)
    """As a rollout takes them: none for one wave of all devices."""
    max_failures: int = Field(default=0, ge=0, le=1_000_000)
    timeout_s: float = Field(default=600.0, gt=0, le=30 * 86_400.0)


def change_stage(
    session: Session, version: Version | TrackedVersion, stage: Stage, *, by: str, comment: str, now: datetime
) -> bool:
    """Move a version to a stage; the version that was production before makes room and is archived.

    Returns:
        Whether anything changed: a version that is there already is left as it is.
    """
    if version.stage == stage:
        return False
    if stage == "production":
        wanted = select(Version).where(Version.model == version.model, Version.stage == "production")
        tracked = select(TrackedVersion).where(
            TrackedVersion.model == version.model, TrackedVersion.stage == "production"
        )
        formers: list[Version | TrackedVersion] = [*session.exec(wanted.order_by(col(Version.number)))]
        for former in [*formers, *session.exec(tracked.order_by(col(TrackedVersion.number)))]:
            note_move(
                session, former, "archived", by=by, comment=f"version {version.number} became production", now=now
            )
    note_move(session, version, stage, by=by, comment=comment, now=now)
    return True


def stage_history(session: Session, version: Version | TrackedVersion) -> list[StageChange]:
    """Return a version's moves, oldest first."""
    wanted = select(StageChange).where(StageChange.model == version.model, StageChange.number == version.number)
    return list(session.exec(wanted.order_by(col(StageChange.id))))


def note_move(
    session: Session, version: Version | TrackedVersion, stage: Stage, *, by: str, comment: str, now: datetime
) -> None:
    """Move a version to a stage as such, with its entry in the history; `change_stage` makes room for it."""
    change = StageChange(
        model=version.model,
        number=version.number,
        from_stage=version.stage,
        to_stage=stage,
        by=by,
        at=now,
        comment=comment,
    )
    message = f"{version.model} version {version.number}: {version.stage} to {stage} by {by}"
    version.stage = stage
    session.add_all([change, version])
    record_event(session, "stage_changed", message, subject=f"model/{version.model}", body={"comment": comment})
    announce(session, "models")
