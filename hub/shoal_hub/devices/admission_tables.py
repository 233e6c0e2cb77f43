"""Devices that may enrol without a token: those whose key was authorised, and those that an operator looks at."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime

PendingState = Literal["waiting", "accepted", "rejected"]


class AuthorisedKey(SQLModel, table=True):
    """A device that may enrol with this key, once."""

    __tablename__ = "authorised_keys"

    key_sha256: str = Field(primary_key=True)
    name: str = ""
    group: str = ""
    tags: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    created_at: datetime = Field(sa_type=UtcDateTime)
    created_by: str
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    device_id: str | None = Field(default=None, foreign_key="devices.id")
    """Which device it became."""


class PendingEnrolment(SQLModel, table=True):
    """A device without a token that waits for an operator, or what the operator said; one row a key."""

    __tablename__ = "pending_enrolments"

    key_sha256: str = Field(primary_key=True)
    name: str = ""
    hardware: dict[str, Any] = Field(sa_type=JSON)
    # Unaudited is that the device asks again, each few seconds.
    address: str = Field(default="", sa_column_kwargs={"info": UNAUDITED})
    state: PendingState = Field(default="waiting", sa_type=String, index=True)
    group: str = ""
    tags: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    first_asked_at: datetime = Field(sa_type=UtcDateTime)
    last_asked_at: datetime = Field(sa_type=UtcDateTime, index=True, sa_column_kwargs={"info": UNAUDITED})
    decided_by: str = ""
