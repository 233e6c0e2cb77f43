"""What the hub has a device do when it is idle: batch jobs and benchmarks, one piece at a time."""

from collections.abc import Callable
from datetime import datetime

import anyio

from shoal_agent.batch_jobs import BatchJobs
from shoal_agent.benchmarks import Benchmarks
from shoal_agent.board import Board
from shoal_agent.fetch import Fetcher
from shoal_agent.sections import Sections
from shoal_agent.settings import AgentSettings
from shoal_agent.uploads import Uploads
from shoal_contract.desired import DesiredState
from shoal_contract.reported import SectionReport
from shoal_contract.telemetry import EventBody


class IdleWork:
    """Both of them, sharing one turn: a job beside it would disturb what a benchmark measures.

    Args:
        settings: Of the agent.
        parts: What brings files, the way to the hub, and the board, which says how hot it is.
        report: Takes the report of a section.
        tell: Queues an event for the hub.
        now: Trusted time.
    """

    def __init__(
        self,
        settings: AgentSettings,
        parts: tuple[Fetcher, Uploads, Board],
        report: Callable[[str, SectionReport], None],
        tell: Callable[[EventBody], None],
        now: Callable[[], datetime],
    ) -> None:
        data, turn, (fetcher, uploads, board) = settings.data_dir, anyio.Lock(), parts
        self._batches = BatchJobs(data, uploads, report, tell, now, settings.batch_jobs, settings.time_zone, turn)
        self._benchmarks = Benchmarks(data, fetcher, board, report, tell, now, settings.benchmarks, turn)

    def follow(self, state: DesiredState, sections: Sections) -> None:
        """Set what is wanted on its way, and end what is not wanted any more."""
        self._batches.follow(state.batches or {}, sections)
        self._benchmarks.follow(state.benchmarks or {}, sections)

    def artifacts(self, state: DesiredState | None) -> set[str]:
        """Return the hashes of the files that what is wanted still needs."""
        wanted = (state.benchmarks or {}) if state else {}
        return {sha256 for name, body in wanted.items() for sha256 in self._benchmarks.artifacts(name, body)}
