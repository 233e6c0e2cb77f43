"""Batch inferences as they were set, and their runs; how far a run is, its job says."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Text
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime


class BatchInferenceRow(SQLModel, table=True):
    """A batch inference; `text` is its file."""

    __tablename__ = "batch_inferences"

    name: str = Field(primary_key=True)
    text: str = Field(sa_type=Text)
    is_enabled: bool = Field(default=True, description="whether its schedule begins runs")
    set_by: str
    set_at: datetime = Field(sa_type=UtcDateTime)
    # Unaudited is what schedules have seen: runs that follow from it are not.
    since: datetime = Field(sa_type=UtcDateTime, sa_column_kwargs={"info": UNAUDITED})
    seen: dict[str, Any] = Field(default_factory=dict, sa_type=JSON, sa_column_kwargs={"info": UNAUDITED})


class BatchInferenceRunRow(SQLModel, table=True):
    """A run of one; `text` is the file that it began with."""

    __tablename__ = "batch_inference_runs"

    id: str = Field(primary_key=True)
    name: str = Field(index=True)
    text: str = Field(sa_type=Text)
    model: str
    number: int = Field(description="of the version that answers")
    version_id: int = Field(foreign_key="versions.id")
    job_id: str = Field(description="the job that is, or was last, at it")
    reason: str = Field(description="why it began")
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)
