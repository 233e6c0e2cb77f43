"""Marks of readiness: a file a process in `run/`, with its process id, that the supervisor waits for."""

import gc
import os
from pathlib import Path
from typing import Final

from shoal_hub.counting import note_serving
from shoal_hub.settings import Settings

_YOUNG_OBJECTS: Final = 20_000
"""So many new ones before the collector looks for circles; a batch of rows makes thousands, and hardly a circle."""


def mark_ready(settings: Settings, name: str) -> None:
    """Say that this process serves; what it has loaded until now stays, and is not gone through for garbage again."""
    path = mark_of(settings, name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(str(os.getpid()))
    note_serving()
    gc.set_threshold(_YOUNG_OBJECTS)
    gc.freeze()


def is_ready(settings: Settings, name: str, pid: int) -> bool:
    """Whether the process `pid` has said that it serves."""
    try:
        return mark_of(settings, name).read_text() == str(pid)
    except FileNotFoundError:
        return False


def mark_of(settings: Settings, name: str) -> Path:
    """Return where a process leaves its mark."""
    return settings.data / "run" / f"{name}.ready"
