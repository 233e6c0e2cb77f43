"""What tells a file that has changed from the one that a job was begun with."""

from pathlib import Path

from shoal_agent.batch.errors import BatchError


def file_identity(path: Path) -> dict[str, str | int]:
    """Return path, size and time of the last change.

    Raises:
        BatchError: The file is not there, or can not be looked at.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise BatchError(f"looking at the input {path}: {error.strerror}", "name files that are there") from error
    return {"path": str(path.absolute()), "size_bytes": found.st_size, "changed_ns": found.st_mtime_ns}


def size_of(path: Path) -> int:
    """Return a file's size in bytes; 0 where it is not there, which `file_identity` tells."""
    return path.stat().st_size if path.exists() else 0
