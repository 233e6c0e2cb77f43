"""Batch jobs that the hub hands out: a model of the device answers files that are there already.

Section `batches/<name>` of the desired state. Which files a job may read, and whether answers leave the device, is for
the device's owner to say.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from shoal_contract.ids import Name, Sha256
from shoal_contract.limits import MAX_BLOB_BYTES
from shoal_contract.reported import Problem
from shoal_contract.update_policy import MAX_WINDOWS, MaintenanceWindow
from shoal_contract.wire import Count, Ordinal, UtcTime, WireValue

MAX_BATCHES: Final = 16
"""That a device is asked for at a time."""
MAX_PATTERN_CHARS: Final = 512
BatchForm = Literal["jsonl", "csv", "parquet"]
BatchOutcome = Literal["done", "failed", "expired"]
Column = Annotated[str, Field(max_length=128, pattern=r"^[^\x00]+$")]


class DesiredBatch(WireValue):
    """Section `batches/<name>`."""

    model: Name
    version: Ordinal | None = None
    """One that the device has; None: the one that serves when the job begins."""
    input: str = Field(min_length=1, max_length=MAX_PATTERN_CHARS, pattern=r"^[^\x00]+$")
    """A pattern of files within a folder that the device's owner allows, as `readings/*.csv`."""
    form: BatchForm = "jsonl"
    """Of the answers."""
    keep: tuple[Column, ...] = Field(default=(), max_length=64)
    """Columns of the input that go along."""
    max_load: float | None = Field(default=0.1, ge=0, le=64)
    """Share of the time that the agent may spend on requests before the job rests; None: it works all the time."""
    windows: tuple[MaintenanceWindow, ...] = Field(default=(), max_length=MAX_WINDOWS)
    """Of local time, in which it works; none: always."""
    deadline_at: UtcTime
    max_result_bytes: int = Field(default=0, ge=0, le=MAX_BLOB_BYTES)
    """Answers of at most so many bytes are sent to the hub, if the owner lets them out; 0: they stay on the device."""


class BatchResult(WireValue):
    """How a job ended on a device."""

    kind: Literal["batch_result"] = "batch_result"
    batch: Name
    outcome: BatchOutcome
    version: Ordinal | None = None
    answered: Count = 0
    rejected: Count = 0
    duration_s: float = Field(default=0.0, ge=0)
    """At work, rests included, since the agent's last start."""
    result_bytes: Count = 0
    result_sha256: Sha256 | None = None
    """Of the answers that are about to be sent; None: they stay on the device."""
    problem: Problem | None = None
