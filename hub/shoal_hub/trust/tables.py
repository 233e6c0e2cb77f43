"""TUF metadata: what is in force, and what waits for signatures of keys that are not here. All of it is public."""

from datetime import datetime

from sqlalchemy import BigInteger, LargeBinary
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime


class TrustMetadata(SQLModel, table=True):
    """One signed version of one role: every root, and the last two of each other role."""

    __tablename__ = "trust_metadata"

    role: str = Field(primary_key=True)
    version: int = Field(primary_key=True, sa_type=BigInteger)
    content: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class StagedMetadata(SQLModel, table=True):
    """The next version of an offline role, until enough of its keys have signed it."""

    __tablename__ = "trust_staged"

    role: str = Field(primary_key=True)
    content: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=UtcDateTime)


class TrustTarget(SQLModel, table=True):
    """A file that the top-level role lists, and that is small enough to lie beside the metadata."""

    __tablename__ = "trust_targets"

    path: str = Field(primary_key=True)
    sha256: str = Field(primary_key=True)
    content: bytes = Field(sa_type=LargeBinary)


class TrustWriter(SQLModel, table=True):
    """One row, which whoever writes metadata locks: versions, snapshot and timestamp change one after the other."""

    __tablename__ = "trust_writers"
    __table_args__ = {"info": UNAUDITED}  # a lock; the metadata that is written under it is audited

    id: int = Field(default=1, primary_key=True)
    number: int = Field(default=0, sa_type=BigInteger, description="how often metadata was written")
