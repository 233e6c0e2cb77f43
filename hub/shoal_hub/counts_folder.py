"""Where the hub's processes keep what they count, and the variables by which one is told to."""

from pathlib import Path
from typing import Final

FOLDER: Final = "SHOAL_COUNTS_DIR"
NAME: Final = "SHOAL_COUNTS_AS"


def counts_folder(data: Path) -> Path:
    """Return where the processes of a hub keep what they count."""
    return data / "run" / "counts"


def counts_environment(data: Path, name: str) -> dict[str, str]:
    """Return the variables by which a process keeps what it counts.

    Args:
        data: The hub's data folder.
        name: `api`, `ingest`, `controller` or `job`. Of several of one name each has files of its own.
    """
    return {FOLDER: str(counts_folder(data)), NAME: name}


def forget_counts(data: Path) -> None:
    """Begin all counts at zero: what another version of the hub has counted may mean something else."""
    for path in counts_folder(data).glob("*.db"):
        path.unlink(missing_ok=True)
