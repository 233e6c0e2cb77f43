"""What gates keep: each look with its verdict, and the vital signs of devices whose rollout looks at them."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, Index, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime

GateVerdict = Literal["advance", "hold", "abort"]


class GateLook(SQLModel, table=True):
    """One look at a wave's gate, with the numbers that a person wants to see."""

    __tablename__ = "gate_looks"
    # What windows and heartbeats come to; what follows of it, a wave or an abort, is audited.
    __table_args__ = (Index("ix_gate_looks_wave", "rollout_id", "wave", "id"), {"info": UNAUDITED})

    id: int | None = Field(default=None, primary_key=True)
    rollout_id: str = Field(foreign_key="rollouts.id")
    wave: int
    at: datetime = Field(sa_type=UtcDateTime)
    verdict: GateVerdict = Field(sa_type=String, description="what the rollout goes by")
    tested: str = Field(description="what the statistics alone say: advance, hold, abort or not_tested")
    reason: str
    alpha_spent: float
    metrics: list[dict[str, Any]] = Field(sa_type=JSON)


class Vitals(SQLModel, table=True):
    """Sums over the heartbeats of one device since a rollout watches it, and the same when what is compared began."""

    __tablename__ = "device_vitals"
    __table_args__ = ({"info": UNAUDITED},)  # what devices say of themselves

    rollout_id: str = Field(primary_key=True, foreign_key="rollouts.id")
    device_id: str = Field(primary_key=True, foreign_key="devices.id", index=True)
    beats: int = 0
    warm_beats: int = Field(default=0, description="with a temperature")
    temperature_c: float = Field(default=0.0, description="sum over them")
    memory_mb: float = Field(default=0.0, description="sum over the beats")
    restarts: int = 0
    observed_s: float = Field(default=0.0, description="between heartbeats that follow each other")
    uptime_s: float = Field(default=0.0, description="of the last one")
    beat_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    marked: dict[str, float] = Field(default_factory=dict, sa_type=JSON, description="the sums at the mark")
