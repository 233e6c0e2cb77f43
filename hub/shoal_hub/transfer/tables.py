"""Leases on artifacts, what is retained at the broker, how far it was told, and blobs that devices upload."""

from datetime import datetime
from typing import Literal

from sqlalchemy import BigInteger, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime

RetainedState = Literal["publishing", "standing", "withdrawing"]
UploadState = Literal["credited", "stored", "refused"]


class Lease(SQLModel, table=True):
    """One user's need of one artifact at the broker; users are like `rollout/r-abcdefgh`."""

    __tablename__ = "leases"
    __table_args__ = {"info": UNAUDITED}  # what rollouts and rounds need, which are audited

    sha256: str = Field(primary_key=True, foreign_key="artifacts.sha256")
    user: str = Field(primary_key=True, index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)


class Retained(SQLModel, table=True):
    """An artifact whose chunks are, or are about to be, at the broker."""

    __tablename__ = "retained"
    __table_args__ = {"info": UNAUDITED}  # what the leases come to at the broker

    sha256: str = Field(primary_key=True)
    size_bytes: int = Field(sa_type=BigInteger)
    chunk_bytes: int
    state: RetainedState = Field(default="publishing", sa_type=String, index=True)
    changed_at: datetime = Field(sa_type=UtcDateTime)


class Watermark(SQLModel, table=True):
    """How far the broker has been told desired states; the broker keeps the same value, retained."""

    __tablename__ = "watermarks"
    __table_args__ = {"info": UNAUDITED}  # how far publishing is

    id: int = Field(default=1, primary_key=True)
    epoch: int = Field(sa_type=BigInteger)
    sequence: int = Field(sa_type=BigInteger, description="issue time, Unix microseconds, of the newest state told")


class Upload(SQLModel, table=True):
    """A blob that a device offered; its chunks lie in `uploads/` until it is whole."""

    __tablename__ = "uploads"
    __table_args__ = {"info": UNAUDITED}  # what devices send; a quota bounds it

    sha256: str = Field(primary_key=True)
    device_id: str = Field(primary_key=True, foreign_key="devices.id")
    size_bytes: int = Field(sa_type=BigInteger)
    chunk_bytes: int
    purpose: str
    state: UploadState = Field(default="credited", sa_type=String, index=True)
    reason: str = ""
    received_bytes: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"}, description="of whole blobs that came"
    )
    changed_at: datetime = Field(sa_type=UtcDateTime)
