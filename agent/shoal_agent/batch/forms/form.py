"""What every form of output offers: to write one part, and to put parts together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from shoal_agent.batch.answers import Columns


class Form(Protocol):
    """One form of output. Neither call syncs: who calls does."""

    def write(self, columns: Columns, path: Path) -> None:
        """Write rows to a new file; columns may be of any kind."""

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Write the rows of all parts to a new file, holding one part in memory at most; there may be none."""
