"""What is asked of devices, by model, and the samples that have come."""

from datetime import datetime

from sqlalchemy import JSON, BigInteger, UniqueConstraint
from sqlmodel import Field, SQLModel

from shoal_hub.database import UtcDateTime


class CaptureRequest(SQLModel, table=True):
    """That devices send samples of a model; whether they do is for their owners to say."""

    __tablename__ = "capture_requests"

    model: str = Field(primary_key=True)
    revision: int = Field(description="rises with each change")
    group: str | None = Field(default=None, description="whose devices; null for all of the fleet")
    reasons: list[str] = Field(default_factory=list, sa_type=JSON)
    max_samples_per_day: int
    max_bytes_per_day: int = Field(sa_type=BigInteger)
    after_s: float
    set_by: str
    set_at: datetime = Field(sa_type=UtcDateTime)


class CaptureRow(SQLModel, table=True):
    """A sample; its bytes lie in the artifact store, under their hash, and are no artifact that devices can fetch."""

    __tablename__ = "captures"
    __table_args__ = (UniqueConstraint("device_id", "name"),)

    id: str = Field(primary_key=True)
    device_id: str = Field(foreign_key="devices.id")
    name: str = Field(description="on the device")
    model: str = Field(index=True)
    version: int = Field(sa_type=BigInteger)
    sha256: str = Field(index=True)
    size_bytes: int = Field(sa_type=BigInteger)
    request_id: str
    sample: int = Field(sa_type=BigInteger, description="its place in the request")
    at: datetime = Field(sa_type=UtcDateTime)
    reasons: list[str] = Field(sa_type=JSON)
    label: int | None = Field(default=None, sa_type=BigInteger)
    confidence: float | None = None
    true_label: int | None = Field(default=None, sa_type=BigInteger)
    received_at: datetime = Field(sa_type=UtcDateTime, index=True)
