"""Which files a job reads: those that match its pattern, within the folders that the device's owner allows."""

import glob
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from shoal_agent.batch.errors import BatchError


def find_inputs(pattern: str, folders: Sequence[Path], most: int) -> list[str]:
    """Return the files that match, links followed, in order.

    Args:
        pattern: As the hub has it; a relative one is in the first folder.
        folders: What is allowed.
        most: Files of one job.

    Raises:
        BatchError: It leads elsewhere, nothing matches, or too much does.
    """
    doing = f"finding the files {pattern[:200]!r} of a batch job"
    allowed = [folder.resolve() for folder in folders]
    known = ", ".join(map(str, allowed))
    remedy = "name files there, or have the device's owner allow their folder: shoal-agent run --batch-folder"
    whole = allowed[0] / pattern
    fixed = whole
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    if ".." in whole.parts or not _is_within(fixed.resolve(), allowed):
        raise BatchError(f"{doing}: {fixed} found, expected a path within {known}", remedy)
    matching = fixed.glob(str(whole.relative_to(fixed))) if fixed != whole else iter([whole])
    found = sorted(islice(matching, most + 1))
    files = [path for path in (one.resolve() for one in found) if path.is_file()]
    if outside := [path for path in files if not _is_within(path, allowed)]:
        raise BatchError(f"{doing}: a link leads to {outside[0]}, expected files within {known}", remedy)
    if len(found) > most:
        raise BatchError(f"{doing}: more than {most} match", "name fewer of them")
    if not files:
        raise BatchError(f"{doing}: none is there", "put files there, or correct the pattern")
    return [str(path) for path in files]


def _is_within(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
