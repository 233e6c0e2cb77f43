"""What devices have measured of variants' files; see `costs.py`."""

from datetime import datetime

from sqlalchemy import BigInteger, Index
from sqlmodel import Field, SQLModel

from shoal_hub.database import UtcDateTime


class CostRow(SQLModel, table=True):
    """What one device has measured of one file; measured again, it is replaced."""

    __tablename__ = "version_costs"
    __table_args__ = (Index("ix_version_costs_hardware", "sha256", "hardware", "measured_at"),)

    sha256: str = Field(primary_key=True, description="of the variant's plain file")
    device_id: str = Field(primary_key=True, foreign_key="devices.id", index=True)
    hardware: str = Field(description="see hardware_class")
    latency_p50_ms: float
    memory_bytes: int = Field(sa_type=BigInteger)
    measured_at: datetime = Field(sa_type=UtcDateTime)
