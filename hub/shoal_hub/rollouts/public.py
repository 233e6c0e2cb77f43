"""Rollouts as the API shows and takes them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from shoal_contract.ids import DeviceId, Name
from shoal_contract.reported import Problem
from shoal_hub.requests import Line
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
    problem: Problem | None
    assigned_at: datetime | None
    ended_at: datetime | None


class RolloutDetail(RolloutSummary):
    """A rollout with its deployments."""

    deployments: list[DeploymentPublic]


def summarise(row: Rollout, counts: dict[str, int]) -> RolloutSummary:
    """Return a rollout as lists show it."""
    return RolloutSummary.model_validate({**row.model_dump(), "counts": counts})


def detail(row: Rollout, deployments: Sequence[Deployment]) -> RolloutDetail:
    """Return a rollout with its deployments."""
    counts: dict[DeploymentState, int] = {}
    for one in deployments:
        counts[one.state] = counts.get(one.state, 0) + 1
    shown = [one.model_dump() for one in deployments]
    return RolloutDetail.model_validate({**row.model_dump(), "counts": counts, "deployments": shown})
