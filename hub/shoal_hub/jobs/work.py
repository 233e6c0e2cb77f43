"""What a job's code gets: its parameters, a folder of its own, the hub's parts, and a way to tell how far it is."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlmodel import col, update

from shoal_hub.database import Database
from shoal_hub.jobs.tables import Job
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.settings import Settings

_TELL_S: Final = 0.25
"""Between two writes of progress, so that an eager job does not keep the database busy."""


@dataclass
class JobWork:
    """One job, in the process that does it."""

    job_id: str
    params: dict[str, Any]
    created_by: str
    folder: Path
    settings: Settings
    database: Database
    artifacts: ArtifactStore
    clock: Callable[[], float] = time.monotonic
    _told_at: float = field(default=float("-inf"), init=False)
    _stage: str = field(default="", init=False)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Tell that `done` of `total` steps of `stage` are finished."""
        now = self.clock()
        if stage == self._stage and done < total and now - self._told_at < _TELL_S:
            return
        self._stage, self._told_at = stage, now
        ratio = min(1.0, done / total) if total > 0 else 0.0
        with self.database.transaction() as session:
            own = update(Job).where(col(Job.id) == self.job_id, col(Job.state) == "running")
            session.exec(own.values(progress=ratio, message=f"{stage} {done}/{total}"[:200]))
