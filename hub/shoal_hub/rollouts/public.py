"""Rollouts as the API shows and takes them."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field
from sqlmodel import Session, col, select

from shoal_contract.ids import DeviceId, Name
from shoal_contract.reported import Problem
from shoal_hub.database import utc_now
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.requests import Line
from shoal_hub.rollouts.delta_pairs import is_waiting_for_deltas
from shoal_hub.rollouts.tables import Deployment, DeploymentState, Rollout, RolloutState


class RolloutRequest(BaseModel):
    """What to roll out, to whom and how."""

    model: Name
    version: Line
    """Number, `latest`, stage or alias."""
    devices: Annotated[list[DeviceId], Field(max_length=100_000)] | None = None
    """In the order of the waves; left out, all that are enrolled, those online first."""
    waves: Annotated[list[Annotated[int, Field(ge=1, le=1_000_000)]], Field(max_length=64)] = []
    """Devices in each wave; the remainder joins the last. None: one wave of all."""
    max_failures: int = Field(default=0, ge=0, le=1_000_000)
    timeout_s: float = Field(default=600.0, gt=0, le=30 * 86_400.0)
    """How long one device may take."""


class RolloutSummary(BaseModel):
    """A rollout; `counts` are its deployments by state."""

    id: str
    model: str
    version: int
    state: RolloutState
    waves: list[int]
    current_wave: int
    max_failures: int
    timeout_s: float
    created_by: str
    created_at: datetime
    ended_at: datetime | None
    reason: str
    counts: dict[DeploymentState, int]


class DeploymentPublic(BaseModel):
    """One device's attempt."""

    id: str
    device_id: str
    wave: int
    target: str
    state: DeploymentState
    step: str
    from_version: int | None
    fetched_bytes: int | None
    """What the model's file took to travel, by delta or whole; None until the device has told."""
    whole_bytes: int | None
    """What the whole file would take."""
    problem: Problem | None
    assigned_at: datetime | None
    ended_at: datetime | None


class RolloutDetail(RolloutSummary):
    """A rollout with its deployments.

    `fetched_bytes` and `whole_bytes` are the sums over the deployments whose devices have told what travelled.
    """

    is_waiting_for_deltas: bool
    """No device is told yet, as less may have to travel soon."""
    fetched_bytes: int
    whole_bytes: int
    deployments: list[DeploymentPublic]


def summarise(row: Rollout, counts: dict[str, int]) -> RolloutSummary:
    """Return a rollout as lists show it."""
    return RolloutSummary.model_validate({**row.model_dump(), "counts": counts})


def detail(session: Session, row: Rollout, deployments: Sequence[Deployment]) -> RolloutDetail:
    """Return a rollout with its deployments."""
    counts = Counter(one.state for one in deployments)
    whole = _whole_bytes(session, row)
    shown = [one.model_dump() | {"whole_bytes": whole.get(one.target)} for one in deployments]
    told = [one for one in shown if one["fetched_bytes"] is not None]
    return RolloutDetail.model_validate(
        {
            **row.model_dump(),
            "counts": counts,
            "is_waiting_for_deltas": is_waiting_for_deltas(session, row, utc_now()),
            "fetched_bytes": sum(one["fetched_bytes"] for one in told),
            "whole_bytes": sum(one["whole_bytes"] or 0 for one in told),
            "deployments": shown,
        }
    )


def _whole_bytes(session: Session, row: Rollout) -> dict[str, int]:
    """Return, by target, the bytes that travel of a variant of the rollout's version."""
    joined = select(VariantRow).join(Version, col(Version.id) == col(VariantRow.version_id))
    variants = session.exec(joined.where(Version.model == row.model, Version.number == row.version))
    return {one.target: one.travelling_bytes for one in variants}
