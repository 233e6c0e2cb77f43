"""Federated runs, and what each device answered in each round."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime

RunState = Literal["running", "succeeded", "failed", "stopped"]
Outcome = Literal["trained", "refused", "failed"]


class FederatedRun(SQLModel, table=True):
    """One run; `weights_sha256` is the model after `current_round` rounds, from which a restart goes on."""

    __tablename__ = "federated_runs"

    id: str = Field(primary_key=True)
    model: str
    base_version: int
    dataset: str
    devices: list[str] = Field(sa_type=JSON)
    rounds: int
    min_devices: int
    epochs: int
    batch_size: int
    learning_rate: float
    update_scheme: str
    parent_share: float
    deadline_s: float
    state: RunState = Field(default="running", sa_type=String, index=True)
    current_round: int = 0
    weights_sha256: str | None = None
    history: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    result_version: int | None = None
    job_id: str
    reason: str = ""
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class RoundAnswer(SQLModel, table=True):
    """A device's answer to one round; the first one counts."""

    __tablename__ = "round_answers"
    __table_args__ = {"info": UNAUDITED}  # what devices say; the round that they come to is audited

    run: str = Field(primary_key=True, foreign_key="federated_runs.id")
    round: int = Field(primary_key=True)
    device_id: str = Field(primary_key=True, foreign_key="devices.id")
    outcome: Outcome = Field(sa_type=String)
    update_sha256: str | None = None
    update_bytes: int = 0
    examples: int = Field(default=0, sa_type=BigInteger)
    loss_before: float | None = None
    loss_after: float | None = None
    duration_s: float = 0.0
    peak_memory_bytes: int = Field(default=0, sa_type=BigInteger)
    problem: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    received_at: datetime = Field(sa_type=UtcDateTime)
