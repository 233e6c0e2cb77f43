"""Rollouts and their deployments: one device's attempt each. States only move forward."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UtcDateTime

RolloutState = Literal["running", "paused", "succeeded", "aborted", "rolling_back", "rolled_back"]
DeploymentState = Literal[
    "pending", "assigned", "working", "succeeded", "failed", "timed_out", "cancelled", "rolled_back"
]
JsonObject = dict[str, Any]


class Rollout(SQLModel, table=True):
    """A plan over devices; `waves` are counts, in the order of the deployments' `wave`, which starts at 0."""

    __tablename__ = "rollouts"

    id: str = Field(primary_key=True)
    model: str = Field(foreign_key="models.name", index=True)
    version: int
    manifest_sha256: str
    manifest_size_bytes: int = Field(sa_type=BigInteger)
    state: RolloutState = Field(default="running", sa_type=String, index=True)
    waves: list[int] = Field(sa_type=JSON)
    current_wave: int = 0
    max_failures: int = 0
    timeout_s: float
    deltas_until: datetime | None = Field(
        default=None, sa_type=UtcDateTime, description="until when it waits at most for its deltas"
    )
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reason: str = ""


class Deployment(SQLModel, table=True):
    """One device's attempt. `from_body` is the section (contract `DesiredModel`) to go back to.

    `rollback_id` names the way back, once there is one: a failed attempt is never tried again under its own id.
    """

    __tablename__ = "deployments"

    id: str = Field(primary_key=True)
    rollout_id: str = Field(foreign_key="rollouts.id", index=True)
    device_id: str = Field(foreign_key="devices.id", index=True)
    wave: int
    target: str = ""
    state: DeploymentState = Field(default="pending", sa_type=String, index=True)
    step: str = ""
    from_version: int | None = None
    from_body: JsonObject | None = Field(default=None, sa_type=JSON(none_as_null=True))
    rollback_id: str | None = None
    fetched_bytes: int | None = Field(
        default=None, sa_type=BigInteger, description="what the model's file took to travel, as the device says"
    )
    problem: JsonObject | None = Field(default=None, sa_type=JSON(none_as_null=True))
    assigned_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
