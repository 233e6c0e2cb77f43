"""What happened, in the order in which the hub learned of it."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, Integer, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime

Severity = Literal["info", "warning", "error"]


class EventRow(SQLModel, table=True):
    """One event; `event_id` is set for events of devices, which may arrive twice."""

    __tablename__ = "events"
    __table_args__ = {"info": UNAUDITED}  # what is told of changes, not a change

    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer(), "sqlite"))
    event_id: str | None = Field(default=None, unique=True)
    at: datetime = Field(sa_type=UtcDateTime)
    received_at: datetime = Field(sa_type=UtcDateTime)
    device_id: str | None = Field(default=None, index=True)
    kind: str
    subject: str = Field(default="", index=True, description="like rollout/r-abcdefgh")
    severity: Severity = Field(default="info", sa_type=String)
    message: str
    body: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
