"""What a job may take: memory and CPU time by the kernel's limits, threads by what numeric libraries look at."""

import resource
from collections.abc import Mapping
from typing import Final

from shoal_hub.jobs.settings import JobSettings
from shoal_training.errors import MemoryNeededError

_THREADS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "POLARS_MAX_THREADS",
)
_LAST_CPU_S: Final = 5
"""From the signal that says so to the one that kills."""


def apply_limits(settings: JobSettings) -> None:
    """Set this process' limits, which its children inherit, each for itself.

    Memory is what can be written and is nobody else's (RLIMIT_DATA, which since Linux 4.7 counts mappings too). The
    address space (RLIMIT_AS) is no measure of it: PyTorch and CUDA reserve many times what they use.
    """
    if settings.job_memory_bytes:
        _lower(resource.RLIMIT_DATA, settings.job_memory_bytes)
    if settings.job_cpu_s:
        seconds = max(1, round(settings.job_cpu_s))
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        most = seconds + _LAST_CPU_S
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, most if hard == resource.RLIM_INFINITY else min(most, hard)))


def thread_environment(settings: JobSettings) -> Mapping[str, str]:
    """Return the variables that bound the threads of numeric libraries; none without a bound."""
    return dict.fromkeys(_THREADS, str(settings.job_threads)) if settings.job_threads else {}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that there was too little memory."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError | MemoryNeededError) or "bad_alloc" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (lowest, lowest))
