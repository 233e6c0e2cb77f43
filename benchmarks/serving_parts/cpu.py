"""What a server's processes have used of the processor, by the scheduler's own account."""

from pathlib import Path


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, its threads and its children so far."""
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    own_ns = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    children = [child for task in tasks for child in (task / "children").read_text().split()]
    return own_ns / 1e9 + sum(cpu_s(int(child)) for child in children)
