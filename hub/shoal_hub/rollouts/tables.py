"""Rollouts and their deployments: one device's attempt each. States only move forward."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, Index, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime

RolloutState = Literal["running", "paused", "succeeded", "aborted", "rolling_back", "rolled_back"]
DeploymentState = Literal[
    "pending", "assigned", "working", "succeeded", "failed", "timed_out", "cancelled", "rolled_back", "held_back"
]
JsonObject = dict[str, Any]


class Rollout(SQLModel, table=True):
    """A plan over devices; `waves` are counts, in the order of the deployments' `wave`, which starts at 0.

    `plan` is the contract of `request.RolloutPlan`; what is in columns besides is what the rollout has come to.
    """

    __tablename__ = "rollouts"

    id: str = Field(primary_key=True)
    model: str = Field(foreign_key="models.name", index=True)
    version: int
    manifest_sha256: str
    manifest_size_bytes: int = Field(sa_type=BigInteger)
    state: RolloutState = Field(default="running", sa_type=String, index=True)
    waves: list[int] = Field(sa_type=JSON)
    current_wave: int = 0
    max_failures: int | None = Field(default=None, description="none: any number, as thresholds decide")
    timeout_s: float
    plan: JsonObject = Field(default_factory=dict, sa_type=JSON, description="RolloutPlan")
    seed: int = Field(default=0, sa_type=BigInteger, description="of the devices' random order and choice")
    wave_started_at: datetime | None = Field(
        default=None, sa_type=UtcDateTime, description="from when on the current wave's gate counts"
    )
    wave_ended_at: datetime | None = Field(
        default=None, sa_type=UtcDateTime, description="when the last device of the current wave had ended"
    )
    paused_at: datetime | None = Field(
        default=None, sa_type=UtcDateTime, description="since when it is paused; none: it is not"
    )
    approved_wave: int = Field(default=0, description="the last wave that may start, where waves need approval")
    gate_count: int | None = Field(
        default=None, description="waves with a gate, which share its alpha; none: all but the last, as of old"
    )
    gate_passed_wave: int = Field(default=-1, description="the last wave whose undecided gate a person has passed")
    asked_wave: int = Field(default=-1, description="the last wave of whose undecided gate a person was told")
    fired: dict[str, int] = Field(
        default_factory=dict, sa_type=JSON, description="failures at which each threshold has paused it, by number"
    )
    joined_at: datetime | None = Field(
        default=None, sa_type=UtcDateTime, description="when late joiners were last looked for"
    )
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
    A device that is held back has a row as well, in no wave of the plan; it is never told.
    """

    __tablename__ = "deployments"
    __table_args__ = (Index("ix_deployments_standing", "rollout_id", "state", "wave"),)

    id: str = Field(primary_key=True)
    rollout_id: str = Field(foreign_key="rollouts.id")
    device_id: str = Field(foreign_key="devices.id", index=True)
    wave: int
    is_late_joiner: bool = Field(default=False, description="came while it ran: nobody drew it, so no gate compares it")
    target: str = ""
    state: DeploymentState = Field(default="pending", sa_type=String)
    step: str = ""
    from_version: int | None = None
    from_body: JsonObject | None = Field(default=None, sa_type=JSON(none_as_null=True))
    rollback_id: str | None = None
    fetched_bytes: int | None = Field(
        default=None, sa_type=BigInteger, description="what the model's file took to travel, as the device says"
    )
    forecast_bytes: int | None = Field(
        default=None, sa_type=BigInteger, description="what the hub forecast of that at the start, at most"
    )
    problem: JsonObject | None = Field(default=None, sa_type=JSON(none_as_null=True))
    failure: str = Field(default="", description="of what it failed: request.FailureCause")
    waits_for: str = Field(default="", description="what the device waits for: its window, a time, its owner")
    tries: int = Field(default=1, description="how many times it was given the time of one device")
    is_settled: bool = Field(default=False, description="out of time, and heard of since: nobody waits for it")
    assigned_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    seen_connection: int = Field(default=-1, sa_type=BigInteger, sa_column_kwargs={"info": UNAUDITED})
    seen_sequence: int = Field(
        default=-1,
        sa_type=BigInteger,
        sa_column_kwargs={"info": UNAUDITED},
        description="with the connection, of the device's last report that was looked at",
    )
