"""What windows come to by hour and day: whole counts of devices, cohorts and the fleet, and scores of device-days."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime

Span = Literal["hour", "day"]
Scope = Literal["fleet", "group", "tag", "device"]
"""Whose windows are merged: all, those of devices at home in a group or with a tag's value, or one device's."""
_KEY: Any = BigInteger().with_variant(Integer(), "sqlite")


class DriftPeriod(SQLModel, table=True):
    """The windows of one version that ended in one hour or day, merged: of a device, a cohort or the fleet."""

    __tablename__ = "drift_periods"
    # Sums of windows, which devices saw.
    __table_args__ = (
        UniqueConstraint("model", "version", "span", "scope", "name", "started_at"),
        Index("ix_drift_periods_age", "span", "scope", "started_at"),
        {"info": UNAUDITED},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=_KEY)
    model: str
    version: int
    span: Span = Field(sa_type=String)
    scope: Scope = Field(sa_type=String)
    name: str = Field(description="device id, group, or tag as in site=paris; empty for the fleet")
    started_at: datetime = Field(sa_type=UtcDateTime)
    windows: int = Field(sa_type=BigInteger, description="merged into it, each once")
    requests: int = Field(sa_type=BigInteger)
    samples: int = Field(sa_type=BigInteger)
    errors: int = Field(sa_type=BigInteger)
    labelled: int = Field(sa_type=BigInteger)
    correct: int = Field(sa_type=BigInteger)
    counts: bytes = Field(
        sa_type=LargeBinary, description="packed: bins of all features, missing, predictions, confidence, latency"
    )
    embedding: dict[str, Any] | None = Field(
        default=None, sa_type=JSON(none_as_null=True), description="contract EmbeddingSums"
    )
    updated_at: datetime = Field(sa_type=UtcDateTime)


class DeviceDays(SQLModel, table=True):
    """What one day's tests say of some devices that serve a version: those whose ids begin alike.

    Arrays have a row for each device, in the order of `devices`.
    """

    __tablename__ = "drift_device_days"
    # Made of windows, which devices saw.
    __table_args__ = (
        UniqueConstraint("model", "version", "started_at", "block"),
        Index("ix_drift_device_days_age", "started_at"),
        {"info": UNAUDITED},
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=_KEY)
    model: str
    version: int
    started_at: datetime = Field(sa_type=UtcDateTime, description="the day, UTC")
    block: str = Field(description="the first letter of the devices' ids")
    revision: int = Field(description="goes up with each change")
    features: int = Field(description="of the baseline")
    devices: str = Field(sa_type=Text, description="ids, a line each")
    samples: bytes = Field(sa_type=LargeBinary, description="(devices,) little-endian uint64")
    drifted: bytes = Field(sa_type=LargeBinary, description="(devices, features) bits, each device from a new byte on")
    ks: bytes = Field(sa_type=LargeBinary, description="(devices, features) uint8, see scores.py")
    psi: bytes = Field(sa_type=LargeBinary, description="(devices, features) uint8, see scores.py")
    updated_at: datetime = Field(sa_type=UtcDateTime)
