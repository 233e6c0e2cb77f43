"""Batch jobs, and how each ended on each of its devices."""

from datetime import datetime
from typing import Literal

from sqlalchemy import JSON, BigInteger, Index, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime
from shoal_hub.devices.tables import JsonObject

Outcome = Literal["open", "done", "failed", "expired", "cancelled"]


class Batch(SQLModel, table=True):
    """A job; its name is never given again, as devices keep its answers under it."""

    __tablename__ = "batches"

    name: str = Field(primary_key=True)
    body: JsonObject = Field(sa_type=JSON, description="contract DesiredBatch")
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    deadline_at: datetime = Field(sa_type=UtcDateTime)
    cancelled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cancelled_by: str = ""


class BatchDevice(SQLModel, table=True):
    """A device that a job was handed out to; `is_stored` once its answers have come."""

    __tablename__ = "batch_devices"
    __table_args__ = (
        Index("ix_batch_devices_is_stored_ended_at", "is_stored", "ended_at"),
        {"info": UNAUDITED},  # what devices tell; who they are, their intents show
    )

    batch: str = Field(primary_key=True, foreign_key="batches.name", ondelete="CASCADE")
    device_id: str = Field(primary_key=True, foreign_key="devices.id", index=True)
    outcome: Outcome = Field(default="open", sa_type=String)
    version: int | None = Field(default=None, sa_type=BigInteger)
    answered: int = Field(default=0, sa_type=BigInteger)
    rejected: int = Field(default=0, sa_type=BigInteger)
    duration_s: float = 0.0
    result_bytes: int = Field(default=0, sa_type=BigInteger)
    result_sha256: str | None = None
    is_stored: bool = False
    problem: JsonObject | None = Field(default=None, sa_type=JSON(none_as_null=True))
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
