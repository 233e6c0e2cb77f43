"""Marks of readiness: a file a process in `run/`, with its process id, that the supervisor waits for."""

import os
from pathlib import Path

from shoal_hub.settings import Settings


def mark_ready(settings: Settings, name: str) -> None:
    """Say that this process serves."""
    path = mark_of(settings, name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(str(os.getpid()))


def is_ready(settings: Settings, name: str, pid: int) -> bool:
    """Whether the process `pid` has said that it serves."""
    try:
        return mark_of(settings, name).read_text() == str(pid)
    except FileNotFoundError:
        return False


def mark_of(settings: Settings, name: str) -> Path:
    """Return where a process leaves its mark."""
    return settings.data / "run" / f"{name}.ready"
