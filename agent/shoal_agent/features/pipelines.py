"""The pipelines of a device: each is a section of its own, so that a camera that is missing holds up no other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from shoal_agent.errors import AgentError, DiskError
from shoal_agent.features.errors import FeaturesError
from shoal_agent.sections import Sections
from shoal_contract.features import DesiredFeatures
from shoal_contract.reported import SectionReport

if TYPE_CHECKING:
    from shoal_agent.features.running import RunningPipeline, Surroundings
    from shoal_agent.features.store import FeatureStore

_log = getLogger(__name__)
PREFIX = "features/"
_DEFECT_REMEDY = "this is a defect of the agent: report what its log on the device says"


class Pipelines:
    """What runs of the section `features`. Belongs to the event loop.

    Args:
        surround: Opens the store and returns what pipelines have around them; called when the first one is wanted.
        report: Takes the report of a section.
    """

    def __init__(self, surround: Callable[[], Surroundings], report: Callable[[str, SectionReport], None]) -> None:
        self._surround = surround
        self._report = report
        self._around: Surroundings | None = None
        self._group: TaskGroup | None = None
        self._running: dict[str, RunningPipeline] = {}
        self._problems: dict[str, dict[str, AgentError]] = {}
        self._due: set[str] = set()
        self._reported_s: dict[str, float] = {}
        self._wanted = DesiredFeatures()

    def run_in(self, group: TaskGroup) -> None:
        """Name the task group in which pipelines run."""
        self._group = group

    def find(self, name: str) -> RunningPipeline | None:
        """Return a pipeline that runs."""
        return self._running.get(name)

    def running(self) -> dict[str, RunningPipeline]:
        """Return what runs, by name."""
        return dict(sorted(self._running.items()))

    @property
    def store(self) -> FeatureStore | None:
        """The store, once there was a pipeline."""
        return self._around.store if self._around is not None else None

    def follow(self, wanted: DesiredFeatures | None, sections: Sections) -> None:
        """Set every pipeline on its way, and those that are not wanted any more on theirs."""
        self._wanted = wanted or DesiredFeatures()
        for name in self._wanted.pipelines:
            body = self._wanted.only(name)
            sections.want(PREFIX + name, body, "", partial(self._converge, name, body))
        asked = {key.removeprefix(PREFIX) for key in sections.keys(PREFIX)}
        for name in (asked | self._running.keys()) - self._wanted.pipelines.keys():
            sections.want(PREFIX + name, None, "", partial(self._remove, name))

    async def aclose(self) -> None:
        """End all pipelines, with their windows saved, and close the store."""
        for running in list(self._running.values()):
            await running.stop()
        if self._around is not None:
            self._around.store.close()

    async def _converge(self, name: str, wanted: DesiredFeatures) -> None:
        """Run a pipeline as it is wanted.

        Raises:
            FeaturesError: It can not run as it is declared, or not on this device.
            DiskError: The store can not be opened.
        """
        if self._around is None:  # in a thread, as the modules that it needs and numpy are imported now
            self._around = await anyio.to_thread.run_sync(self._surround)
        await self._stop(name)
        if self._group is None:
            raise FeaturesError(f"running the pipeline {name!r}: the agent has not started", _DEFECT_REMEDY)
        from shoal_agent.features.running import RunningPipeline

        running = RunningPipeline(name, wanted, self._around, partial(self._tell, name))
        self._running[name] = running
        self._group.start_soon(self._run, running)
        self._tidy()

    async def _remove(self, name: str) -> None:
        await self._stop(name)
        if self._around is not None:
            self._around.store.forget_pipeline(name)
        self._tidy()

    async def _stop(self, name: str) -> None:
        running = self._running.pop(name, None)
        self._problems.pop(name, None)
        if running is not None:
            await running.stop()

    async def _run(self, running: RunningPipeline) -> None:
        try:
            await running.run()
        except Exception as error:  # noqa: BLE001 - logged with its traceback and reported; all else goes on
            _log.exception("features: pipeline %s: a defect of the agent", running.name)
            problem = AgentError(f"running the pipeline {running.name!r}: {error!r}", _DEFECT_REMEDY)
            if self._running.get(running.name) is running:
                del self._running[running.name]
                self._report(PREFIX + running.name, SectionReport(state="failed", problem=problem.to_problem()))

    def _tidy(self) -> None:
        """Forget the values of definitions that no pipeline computes any more."""
        if self._around is None:
            return
        used = {one for pipeline in self._wanted.pipelines.values() for one in pipeline.definitions}
        for name in self._around.store.defined():
            if name not in used:
                try:
                    self._around.store.drop(name)
                except DiskError as error:
                    _log.error("features: %s; %s", error, error.remedy)

    def _tell(self, name: str, problems: dict[str, AgentError]) -> None:
        """Report how a pipeline is: at once, or when the last report is a while ago, as it is then."""
        if name not in self._running or self._group is None:
            return
        self._problems[name] = problems
        if name not in self._due:
            self._due.add(name)
            self._group.start_soon(self._report_when_due, name)

    async def _report_when_due(self, name: str) -> None:
        pause_s = self._around.settings.report_pause_s if self._around is not None else 0.0
        await anyio.sleep(max(self._reported_s.get(name, -pause_s) + pause_s - anyio.current_time(), 0))
        self._due.discard(name)
        if name in self._running:
            self._reported_s[name] = anyio.current_time()
            self._report(PREFIX + name, _report_of(self._problems.get(name, {})))


def _report_of(problems: dict[str, AgentError]) -> SectionReport:
    """Return the report of a pipeline that runs; what is wrong with it is tried again by itself."""
    for part, problem in problems.items():
        return SectionReport(state="working", step=part[:64], problem=problem.to_problem())
    return SectionReport(state="applied")
