"""Benchmarks, and what each device that was offered one has measured."""

from datetime import datetime
from typing import Literal

from sqlalchemy import JSON, Index, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime
from shoal_hub.devices.tables import JsonObject

BenchmarkState = Literal["running", "done", "failed", "cancelled"]
Outcome = Literal["open", "done", "failed", "expired", "gone", "cancelled"]
"""`gone`: the device went offline for too long, and another one of its class was asked; it is asked again where that
one fails too and it is back."""


class Benchmark(SQLModel, table=True):
    """Candidates, and of which classes how many devices are to measure them."""

    __tablename__ = "benchmarks"

    id: str = Field(primary_key=True)
    subject: str = Field(index=True, description="what it is for, like compression/c-abcdefgh")
    body: JsonObject = Field(sa_type=JSON, description="contract DesiredBenchmark; its deadline is each device's own")
    samples: int
    classes: dict[str, list[str]] = Field(
        sa_type=JSON, description="by hardware class the target classes that devices of it are of"
    )
    devices_per_class: int
    patience_s: float
    state: BenchmarkState = Field(default="running", sa_type=String, index=True)
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class BenchmarkDevice(SQLModel, table=True):
    """A device that was offered a benchmark."""

    __tablename__ = "benchmark_devices"
    __table_args__ = (
        Index("ix_benchmark_devices_outcome", "outcome", "deadline_at"),
        {"info": UNAUDITED},  # what devices tell; who they are, their intents show
    )

    benchmark: str = Field(primary_key=True, foreign_key="benchmarks.id", ondelete="CASCADE")
    device_id: str = Field(primary_key=True, foreign_key="devices.id", index=True)
    hardware: str
    target_class: str
    outcome: Outcome = Field(default="open", sa_type=String)
    offered_at: datetime = Field(sa_type=UtcDateTime)
    deadline_at: datetime = Field(sa_type=UtcDateTime)
    result: JsonObject | None = Field(
        default=None, sa_type=JSON(none_as_null=True), description="contract BenchmarkResult"
    )
    problem: JsonObject | None = Field(default=None, sa_type=JSON(none_as_null=True))
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
