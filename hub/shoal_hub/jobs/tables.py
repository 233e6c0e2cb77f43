"""Jobs as they stand; the job's log is a file in the data folder."""

from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import JSON, String
from sqlmodel import Field, SQLModel

from shoal_hub.database import UNAUDITED, UtcDateTime

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
OPEN: Final = ("queued", "running")
FAILED: Final = ("failed", "cancelled")
ENDED: Final = ("succeeded", *FAILED)
Cause = Literal["", "error", "given_up", "cancelled", "crashed", "killed", "memory", "cpu_time", "wall_time"]
"""Why a job, or its last attempt, came to nothing: by its own word, by somebody's, or by what its process met."""


class Job(SQLModel, table=True):
    """One piece of long work; `progress` runs from 0 to 1."""

    __tablename__ = "jobs"

    id: str = Field(primary_key=True)
    kind: str
    subject: str = Field(default="", description="like models/digits/1")
    state: JobState = Field(default="queued", sa_type=String, index=True)
    priority: int = Field(default=0, description="the highest goes first; of one priority, who came first")
    # Unaudited is how far the process is that does it: who asked for it, and how it ended, is not.
    progress: float = Field(default=0.0, sa_column_kwargs={"info": UNAUDITED})
    message: str = Field(default="", sa_column_kwargs={"info": UNAUDITED})
    params: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    result: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    error: str = ""
    cause: Cause = Field(default="", sa_type=String, sa_column_kwargs={"info": UNAUDITED})
    pid: int | None = Field(default=None, sa_column_kwargs={"info": UNAUDITED})
    attempts: int = Field(default=0, sa_column_kwargs={"info": UNAUDITED})
    not_before: datetime | None = Field(
        default=None, sa_type=UtcDateTime, sa_column_kwargs={"info": UNAUDITED}, description="of the next attempt"
    )
    created_by: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
