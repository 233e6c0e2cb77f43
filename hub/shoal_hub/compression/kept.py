"""What compression keeps below the data folder, so that a recipe or a search is found again: steps, results, searches.

All of it can be made anew; what a run has registered is in the store of artifacts, and not here.
"""

import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

RECIPES: Final = "recipes"
SEARCHES: Final = "searches"
_IN_USE_S: Final = 6 * 3600.0
"""After its last change, something may still belong to a job that runs."""


class _Kept(NamedTuple):
    changed_s: float
    """Unix time."""
    size_bytes: int
    folder: Path


def trim(root: Path, most_bytes: int, *, now_s: float | None = None, parts: Sequence[str] = (RECIPES, SEARCHES)) -> int:
    """Remove what was changed the longest ago, until no more than `most_bytes` are left; return the bytes removed.

    Args:
        root: Holds the parts, with a folder each for a step, a result or a search.
        most_bytes: That may be left. What was changed in the last hours stays, whatever it takes.
        now_s: The time, Unix; None: now.
        parts: Folders in it whose folders are looked at.
    """
    return trim_folders([path for part in parts for path in _folders(root / part)], most_bytes, root.name, now_s=now_s)


def trim_folders(folders: Iterable[Path], most_bytes: int, what: str, *, now_s: float | None = None) -> int:
    """Do as `trim`, with these folders; `what` is what the log calls them."""
    now_s = time.time() if now_s is None else now_s
    kept = sorted(map(_kept, folders))
    left, removed = sum(one.size_bytes for one in kept), 0
    for one in kept:
        if left - removed <= most_bytes or one.changed_s > now_s - _IN_USE_S:
            break
        shutil.rmtree(one.folder, ignore_errors=True)
        removed += one.size_bytes
    if removed:
        log.info("%s kept %d bytes, at most %d are allowed: the oldest %d went", what, left, most_bytes, removed)
    return removed


def _folders(part: Path) -> list[Path]:
    return [path for path in part.iterdir() if path.is_dir()] if part.is_dir() else []


def _kept(folder: Path) -> _Kept:
    stats = [found for path in (folder, *_within(folder)) if (found := _stat(path)) is not None]
    return _Kept(max((one.st_mtime for one in stats), default=0.0), sum(one.st_size for one in stats), folder)


def _within(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):  # which passes over what goes meanwhile
        yield from (Path(parent, name) for name in (*folders, *files))


def _stat(path: Path) -> os.stat_result | None:
    """Return how a file is; None: a job that runs has taken it away."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
