"""The reported state: what is true on this device, published whenever it changes and at each connection."""

from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import islice
from typing import TypeVar

import anyio

from shoal_agent.errors import LinkError
from shoal_agent.link import Link
from shoal_contract.limits import MAX_REPORT_BYTES
from shoal_contract.reported import (
    MAX_REPORTED_MODELS,
    MAX_REPORTED_SECTIONS,
    Hardware,
    ModelReport,
    Problem,
    ReportedState,
    Runtime,
    SectionReport,
    SectionState,
    TrustReport,
)

_SHORT_BYTES = 100
"""Of a problem's message and remedy, where all of them together are too long."""
Entry = TypeVar("Entry")


class Reporter:
    """Holds the sections' reports and publishes the whole.

    Args:
        hardware: What the device is.
        runtimes: Runtimes found.
        targets: Targets that it can run, best first.
        agent_version: The agent's version.
        now: The clock.
        pause_s: Between two reports: what changes meanwhile goes into one.
        linger_s: How long a change waits that another one will follow, such as a step of a deployment.
    """

    def __init__(
        self,
        hardware: Hardware,
        runtimes: tuple[Runtime, ...],
        targets: tuple[str, ...],
        agent_version: str,
        now: Callable[[], datetime],
        pause_s: float = 0.0,
        linger_s: float = 0.0,
    ) -> None:
        self._pause_s = pause_s
        self._linger_s = linger_s
        self.hardware = hardware
        self.runtimes = runtimes
        self.targets = targets
        self._agent_version = agent_version
        self._now = now
        self._sections: dict[str, SectionReport] = {}
        self._changed = anyio.Event()
        self._is_urgent = anyio.Event()
        self._sequence = 0
        self._connection = 0
        self._order = (0, 0)
        self._problem: Problem | None = None
        self.models: Callable[[], dict[str, ModelReport]] = dict
        self.datasets: Callable[[], dict[str, int]] = dict
        self._told_datasets: dict[str, int] = {}
        self.trust: Callable[[], TrustReport | None] = lambda: None
        self.time_zone: Callable[[], str] = str

    def section(self, key: str, report: SectionReport) -> None:
        """Note how far one section is; how an attempt ended is published at once, and so is a problem."""
        before = self._sections.get(key)
        self._sections[key] = report
        has_ended = before is not None and before.state == "working" and report.state != "working"
        self.touch(can_wait=not has_ended and report.problem is None)

    def said(self, key: str) -> SectionReport | None:
        """Return the report of one section, if there is one."""
        return self._sections.get(key)

    def drop_section(self, key: str) -> None:
        """Forget a section that is no longer wanted."""
        self._sections.pop(key, None)
        self.touch()

    def working(self, prefix: str) -> int:
        """How many sections under `prefix` are on their way."""
        return sum(key.startswith(prefix) and report.state == "working" for key, report in self._sections.items())

    def states(self, prefix: str) -> list[SectionState]:
        """How far each section under `prefix` is."""
        return [report.state for key, report in self._sections.items() if key.startswith(prefix)]

    def accepted(self, order: tuple[int, int]) -> None:
        """Note the (epoch, generation) of the desired state in force; a problem with it is over."""
        self._order, self._problem = order, None
        self.touch(can_wait=True)

    def refused(self, problem: Problem) -> None:
        """Note that a desired state was refused; the one before stays in force."""
        self._problem = problem
        self.touch()

    def notice_datasets(self) -> None:
        """Publish soon if datasets have changed: `shoal-agent data add` is a process of its own."""
        if self.datasets() != self._told_datasets:
            self.touch()

    def touch(self, *, can_wait: bool = False) -> None:
        """Publish soon, or a moment later together with what changes meanwhile."""
        self._changed.set()
        if not can_wait:
            self._is_urgent.set()

    def snapshot(self, connection: int) -> ReportedState:
        """Return the reported state; each call takes the next sequence of the connection."""
        self._sequence = self._sequence + 1 if connection == self._connection else 0
        self._connection, self._told_datasets = connection, self.datasets()
        return ReportedState(
            connection=connection,
            sequence=self._sequence,
            at=self._now(),
            epoch=self._order[0],
            generation=self._order[1],
            agent_version=self._agent_version,
            time_zone=self.time_zone(),
            hardware=self.hardware,
            runtimes=self.runtimes,
            targets=self.targets,
            datasets=self._told_datasets,
            models=_first(self.models(), MAX_REPORTED_MODELS),
            sections=_first(self._sections, MAX_REPORTED_SECTIONS),
            trust=self.trust(),
            problem=self._problem,
        )

    def message(self, connection: int) -> bytes:
        """Return the reported state as it is sent; where its problems' texts make it too large, they are cut."""
        state = self.snapshot(connection)
        data = state.to_bytes()
        if len(data) <= MAX_REPORT_BYTES:
            return data
        sections = {key: _shortened(report) for key, report in state.sections.items()}
        return state.model_copy(update={"sections": sections}).to_bytes()

    async def publish_changes(self, link: Link) -> None:
        """Publish presence and reported state at each connection, and the latter at each change. Runs for ever."""
        seen = 0
        while True:
            connection = await link.wait_connected()
            try:
                if connection != seen:
                    await link.say("presence", link.presence("online"), retain=True)
                self._changed, self._is_urgent = anyio.Event(), anyio.Event()
                await link.say("reported", self.message(connection), retain=True)
            except LinkError:
                await anyio.sleep(0.2)  # the link is about to notice that it is down
                continue
            seen = connection
            await self._wait_for_change(link)

    async def _wait_for_change(self, link: Link) -> None:
        async with anyio.create_task_group() as group:

            async def ended() -> None:
                await link.wait_disconnected()
                group.cancel_scope.cancel()

            group.start_soon(ended)
            await anyio.sleep(self._pause_s)
            await self._changed.wait()
            with anyio.move_on_after(self._linger_s):
                await self._is_urgent.wait()
            group.cancel_scope.cancel()


def _first(entries: Mapping[str, Entry], most: int) -> dict[str, Entry]:
    """Return as many as the contract allows: while models give way to others, there are more for a moment."""
    return dict(islice(entries.items(), most))


def _shortened(report: SectionReport) -> SectionReport:
    problem = report.problem
    if problem is None:
        return report
    texts = {"message": _short(problem.message), "remedy": _short(problem.remedy)}
    return report.model_copy(update={"problem": problem.model_copy(update=texts)})


def _short(text: str) -> str:
    """Cut a text by what it takes in a report, where a character that can not be shown takes six bytes."""
    shown = "".join(one if one.isprintable() and one not in '"\\' else " " for one in text)
    return shown.encode()[:_SHORT_BYTES].decode(errors="ignore")
