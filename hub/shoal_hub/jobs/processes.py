"""The processes of a job: which they are, whatever session they are in, and how they are ended."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from shoal_hub.jobs.pump import NAME
from shoal_hub.jobs.tables import Cause

MARK: Final = "SHOAL_JOB"
"""The variable that a job's processes inherit: its id."""
_OOM: Final = "oom_kill "


def end_group(pid: int) -> None:
    """Ask a job's process and those of its group to end."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)


def kill_all(job_id: str, leader: int | None = None) -> int:
    """Kill what is left of a job, also what has a session of its own; return how many there were.

    Its log is still written until nobody prints any more.

    Args:
        job_id: The job.
        leader: The process that it began with, whose session's others are of it whatever they have inherited.
    """
    killed = 0
    session = leader if leader is not None and _may_lead(leader, job_id) else None
    for pid in _pids():
        with suppress(OSError):
            killed += _kill_if_of(pid, job_id, session)
    return killed


def cause_of(status: int, last_line: str, *, oom_kills: int) -> Cause:
    """Return why a process ended without a word of its own.

    Args:
        status: As `Popen.wait` returns it.
        last_line: Of its log.
        oom_kills: How many processes the kernel has killed for memory since it began.
    """
    if "MemoryError" in last_line or "bad_alloc" in last_line or (status == -signal.SIGKILL and oom_kills):
        return "memory"
    if status == -signal.SIGXCPU:
        return "cpu_time"
    if status in {-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM}:
        return "killed"
    return "crashed"


def count_oom_kills() -> int:
    """Return how many processes the kernel has killed for memory: of this control group, else of this machine."""
    group = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
    for path in (Path(f"/sys/fs/cgroup{group}/memory.events"), Path("/proc/vmstat")):
        with suppress(OSError):
            counts = [line.removeprefix(_OOM) for line in path.read_text().splitlines() if line.startswith(_OOM)]
            if counts:
                return int(counts[0])
    return 0


def _pids() -> list[int]:
    return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and int(one.name) != os.getpid()]


def _may_lead(pid: int, job_id: str) -> bool:
    """Return whether a process is the job's, or has ended; after a restart its number may be somebody else's."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        has_ended = "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    return has_ended or _mark(job_id) in environment


def _mark(job_id: str) -> bytes:
    return f"{MARK}={job_id}".encode()


def _kill_if_of(pid: int, job_id: str, session: int | None) -> bool:
    """Kill a process if it is of the job; by a handle, since its number may be somebody else's a moment later."""
    handle = os.pidfd_open(pid)
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        is_log = Path(f"/proc/{pid}/comm").read_text().strip() == NAME
        is_of_job = _mark(job_id) in environment or os.getsid(pid) == session
        if not is_of_job or is_log:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return True
    finally:
        os.close(handle)
