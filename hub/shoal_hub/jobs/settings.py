"""The settings of jobs: how many run at once, what one may take, how often it is tried, what stays of its output."""

from pydantic import BaseModel, field_validator

from shoal_hub.setting import setting as _setting


class JobSettings(BaseModel):
    """A part of the hub's settings."""

    max_jobs: int = _setting("SHOAL_MAX_JOBS", 1, "jobs", "Jobs (compression, training) that run at once.", ge=1, le=64)
    jobs_at_once: str = _setting(
        "SHOAL_JOBS_AT_ONCE",
        "",
        "list",
        "Of a kind at most so many at once, as in training=1,compression=2; all together SHOAL_MAX_JOBS.",
    )
    job_attempts: int = _setting(
        "SHOAL_JOB_ATTEMPTS",
        3,
        "attempts",
        "How often a job is tried that was killed, whose process vanished or that had too little memory.",
        ge=1,
        le=100,
    )
    job_retry_s: float = _setting(
        "SHOAL_JOB_RETRY_S", 10.0, "s", "Before a job is tried again; doubled before each further attempt.", ge=0
    )
    job_memory_bytes: int = _setting(
        "SHOAL_JOB_MEMORY_BYTES", 0, "bytes", "Memory that each process of a job may take; 0: there is no limit.", ge=0
    )
    job_cpu_s: float = _setting(
        "SHOAL_JOB_CPU_S", 0.0, "s", "CPU time that each process of a job may take; 0: there is no limit.", ge=0
    )
    job_wall_s: float = _setting(
        "SHOAL_JOB_WALL_S",
        0.0,
        "s",
        "How long an attempt of a job may run; 0: there is no limit. Those that wait for devices may always.",
        ge=0,
    )
    job_threads: int = _setting(
        "SHOAL_JOB_THREADS",
        0,
        "threads",
        "That numeric libraries start in a job's process; 0: one a core.",
        ge=0,
        le=1024,
    )
    job_stop_s: float = _setting(
        "SHOAL_JOB_STOP_S", 10.0, "s", "How long a job that is ended has to clean up before it is killed.", ge=0, le=600
    )
    job_log_bytes: int = _setting(
        "SHOAL_JOB_LOG_BYTES",
        16 * 2**20,
        "bytes",
        "Of a job's output that is kept; what was written first goes.",
        ge=4096,
    )

    @field_validator("jobs_at_once")
    @classmethod
    def _check_kinds(cls, text: str) -> str:
        parse_at_once(text)
        return text


def parse_at_once(text: str) -> dict[str, int]:
    """Return how many jobs of a kind may run at once.

    Raises:
        ValueError: The text is no list of kinds with numbers from 1.
    """
    found: dict[str, int] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        kind, _, number = (one.strip() for one in part.partition("="))
        if not kind or not number.isdigit() or int(number) < 1:
            msg = f"{part!r} found, expected kind=number with a number from 1, as in training=1"
            raise ValueError(msg)
        found[kind] = int(number)
    return found
