"""Compression runs, and the files that they made."""

from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import JSON, BigInteger, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime
from shoal_hub.devices.tables import JsonObject

RunState = Literal["making", "measuring", "choosing", "succeeded", "failed", "cancelled"]
SUBJECT: Final = "compression/"
"""Of a run's benchmark, before the run's id."""
OPEN: tuple[RunState, ...] = ("making", "measuring", "choosing")


class CompressionRun(SQLModel, table=True):
    """One run; `choices` and `refused` are there once they are known."""

    __tablename__ = "compression_runs"

    id: str = Field(primary_key=True)
    model: str = Field(index=True)
    version_id: int = Field(foreign_key="versions.id")
    number: int
    request: JsonObject = Field(sa_type=JSON, description="CompressionRequest")
    state: RunState = Field(default="making", sa_type=String, index=True)
    job_id: str
    benchmark_id: str | None = None
    source: JsonObject | None = Field(default=None, sa_type=JSON(none_as_null=True), description="SourceFile")
    here: JsonObject | None = Field(
        default=None,
        sa_type=JSON(none_as_null=True),
        sa_column_kwargs={"info": UNAUDITED},
        description="SourceHere: what stands in for the source on devices that do not run it",
    )
    choices: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON, description="Choice of each target class")
    refused: dict[str, str] = Field(default_factory=dict, sa_type=JSON, description="why, by recipe")
    reason: str = ""
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class CompressionResult(SQLModel, table=True):
    """A file that a run made, or found made before."""

    __tablename__ = "compression_results"

    run: str = Field(primary_key=True, foreign_key="compression_runs.id", ondelete="CASCADE")
    name: str = Field(primary_key=True, description="of its recipe")
    recipe_sha256: str = Field(index=True)
    sha256: str = Field(foreign_key="artifacts.sha256")
    size_bytes: int = Field(sa_type=BigInteger)
    runtime: str
    format: str
    precision: str
    report: JsonObject = Field(sa_type=JSON, description="RecipeReport of shoal_compression: lineage, verdict, figures")
    targets: list[str] = Field(sa_type=JSON, description="classes that its recipe is for; none: all")
    page: str | None = Field(default=None, description="its report as HTML; an artifact")
    was_found: bool = Field(description="the same recipe had been run on the same inputs before")
