"""Settings and bounds of what a device does for the hub when it is idle."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BatchJobSettings:
    """What batch jobs that the hub hands out may read, whether answers may leave the device, and bounds."""

    folders: tuple[Path, ...] = ()
    """Folders whose files jobs may read; none stands for `inputs` in the data folder."""
    may_send: bool = False
    most_inputs: int = 1000
    """Files of one job."""
    most_starts: int = 5
    """Of a job's process, which others may have ended, before the job counts as failed."""
    report_s: float = 30.0
    """How often it is said how far a job is, if it is further."""
    offer_again_s: float = 6 * 3600.0
    """How long answers wait for the hub's word before they are offered again."""


@dataclass(frozen=True)
class BenchmarkSettings:
    """Whether the hub may have files measured here, and limits of the process that does."""

    is_allowed: bool = True
    max_memory_bytes: int = 4 * 1024 * 1024 * 1024
    """Address space; the runtime maps far more than it uses."""
    max_memory_share: float = 0.75
    """Of the board's memory, that the process may have of its own: the agent serves beside it."""
    most_starts: int = 3
    """Of one candidate's process, which the device or its agent did not outlive, before it counts as failed."""
    max_sample_bytes: int = 64 * 1024 * 1024
    nice: int = 5
