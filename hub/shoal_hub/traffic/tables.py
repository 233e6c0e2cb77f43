"""The byte ledger of each device and month, and the limits that operators have set."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime

LimitScope = Literal["fleet", "groups", "devices"]
JsonObject = dict[str, Any]


class MonthLedger(SQLModel, table=True):
    """What one device has told of one month; the sum of `earlier` and `current` is what has passed.

    Both map a category to `received_bytes` and `sent_bytes`: `current` is the latest of what the device's ledger
    `stream` says, `earlier` what ledgers said that it has lost since.
    """

    __tablename__ = "month_ledgers"
    __table_args__ = {"info": UNAUDITED}  # what devices count

    device_id: str = Field(primary_key=True, foreign_key="devices.id")
    month: str = Field(primary_key=True, description="YYYY-MM, UTC")
    stream: int = Field(sa_type=BigInteger)
    current: JsonObject = Field(default_factory=dict, sa_type=JSON)
    earlier: JsonObject = Field(default_factory=dict, sa_type=JSON)
    told_at: datetime = Field(sa_type=UtcDateTime)


class TransferLimit(SQLModel, table=True):
    """What the fleet, a static group or a device may take; the narrowest counts, value by value, see `limits.py`."""

    __tablename__ = "transfer_limits"

    scope: LimitScope = Field(primary_key=True, sa_type=String)
    name: str = Field(primary_key=True, description="the group's name or the device's id; empty for the fleet")
    max_fetch_bytes_per_s: int | None = Field(default=None, sa_type=BigInteger)
    max_bytes_per_month: int | None = Field(default=None, sa_type=BigInteger)
    set_by: str
    set_at: datetime = Field(sa_type=UtcDateTime)
