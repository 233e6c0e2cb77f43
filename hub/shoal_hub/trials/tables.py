"""Trials, the devices of each, and what devices in shadow have told."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, Index, Integer, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime

TrialMode = Literal["shadow", "ab"]
TrialSplit = Literal["device", "key"]
TrialState = Literal["running", "ended"]
TrialArm = Literal["candidate", "control", "both"]


class Trial(SQLModel, table=True):
    """A candidate against the version that serves. At most one runs for a model."""

    __tablename__ = "trials"

    id: str = Field(primary_key=True)
    model: str = Field(foreign_key="models.name", index=True)
    version: int = Field(description="the candidate")
    against: int = Field(description="the version that serves on its devices")
    manifest_sha256: str
    manifest_size_bytes: int = Field(sa_type=BigInteger)
    mode: TrialMode = Field(sa_type=String)
    split: TrialSplit = Field(sa_type=String, description="what sticks to an arm in an A/B trial")
    share: float
    salt: str
    max_cpu_share: float
    max_memory_bytes: int = Field(sa_type=BigInteger)
    tolerance: float
    hard_examples: int
    stop_after_samples: int | None = Field(default=None, sa_type=BigInteger)
    stop_on_harm: bool = False
    state: TrialState = Field(default="running", sa_type=String, index=True)
    reason: str = ""
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    ends_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    results: dict[str, Any] | None = Field(
        default=None,
        sa_type=JSON(none_as_null=True),
        sa_column_kwargs={"info": UNAUDITED},
        description="TrialResults when it ended, as its windows are deleted some day; none: read from windows",
    )
    looked_at: datetime | None = Field(
        default=None, sa_type=UtcDateTime, description="when its stop rule was last looked at"
    )


class TrialDevice(SQLModel, table=True):
    """A device of a trial; in control it is told nothing and only compared with."""

    __tablename__ = "trial_devices"

    trial_id: str = Field(primary_key=True, foreign_key="trials.id")
    device_id: str = Field(primary_key=True, foreign_key="devices.id", index=True)
    arm: TrialArm = Field(sa_type=String)
    target: str = Field(default="", description="of the candidate's variant; empty in control")


class ShadowRow(SQLModel, table=True):
    """What one device's candidate in shadow came to in one window."""

    __tablename__ = "shadow_windows"
    __table_args__ = (Index("ix_shadow_windows_stream", "trial_id", "device_id", "id"), {"info": UNAUDITED})

    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer(), "sqlite"))
    trial_id: str = Field(foreign_key="trials.id")
    device_id: str = Field(foreign_key="devices.id")
    started_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime = Field(sa_type=UtcDateTime)
    compared: int = Field(sa_type=BigInteger)
    disagreed: int = Field(sa_type=BigInteger)
    errors: int = Field(sa_type=BigInteger)
    skipped: int = Field(sa_type=BigInteger)
    latency: list[int] = Field(sa_type=JSON)
    labelled: int = Field(default=0, sa_type=BigInteger, description="compared samples whose true label came back")
    correct: int = Field(default=0, sa_type=BigInteger, description="of these, predicted right by the candidate")
    against_correct: int = Field(default=0, sa_type=BigInteger, description="and by the version that serves")
    examples: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
