"""The reported state: what is true on this device, published whenever it changes and at each connection."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

import anyio

from shoal_agent.engines import Runtimes
from shoal_agent.errors import LinkError
from shoal_agent.hardware import available_memory_bytes, detect, targets_for
from shoal_agent.link import Link
from shoal_agent.settings import AgentSettings
from shoal_contract import __version__
from shoal_contract.carrying import load
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
from shoal_contract.telemetry import OutboxPosition
from shoal_contract.trace_context import TraceContext

_SHORT_BYTES = 100
"""Of a problem's message and remedy, where all of them together are too long."""
_BATCH_BYTES = 1024
"""What is put around events that travel in a report, at most."""
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
        linger_s: How long a change waits for others.
        progress_s: How long it waits, if that is longer, while a section is on its way, the end of which is said at
            once.
        trust_s: How long what the device trusts waits.
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
        progress_s: float = 0.0,
        trust_s: float = 0.0,
    ) -> None:
        self._pause_s = pause_s
        self._linger_s = linger_s
        self._progress_s = max(progress_s, linger_s)
        self._trust_s = trust_s
        self.hardware = hardware
        self.runtimes = runtimes
        self.targets = targets
        self._agent_version = agent_version
        self._now = now
        self._sections: dict[str, SectionReport] = {}
        self._wake = anyio.Event()
        self._is_urgent = False
        self._changed_s = self._trust_changed_s = math.inf
        self._said_s = -math.inf
        self._sequence = 0
        self._connection = 0
        self._order = (0, 0)
        self._problem: Problem | None = None
        self._told_trust_problem: Problem | None = None
        self.carry: Callable[[int], tuple[OutboxPosition, list[bytes]] | None] = lambda _: None
        """Asked for events that may travel in a report, and come to so many bytes at most; see `Uplink.carry`."""
        self.carried: Callable[[], Sequence[TraceContext]] = tuple
        """What those follow from that it has given last."""
        self.models: Callable[[], dict[str, ModelReport]] = dict
        self.datasets: Callable[[], dict[str, int]] = dict
        self._told_datasets: dict[str, int] = {}
        self.trust: Callable[[], TrustReport | None] = lambda: None
        self.time_zone: Callable[[], str] = str
        self.memory_available: Callable[[], int | None] = lambda: None

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

    def trust_changed(self) -> None:
        """Publish with what comes next: nobody acts on what the device trusts, but for a problem with it."""
        trust = self.trust()
        if (trust.problem if trust else None) != self._told_trust_problem:
            self.touch()
        self._trust_changed_s = min(self._trust_changed_s, time.monotonic())
        self._wake.set()

    def spoken_s(self) -> float:
        """Return when the last report left, in monotonic seconds; infinity while a section is on its way."""
        return math.inf if self._is_working() else self._said_s

    def touch(self, *, can_wait: bool = False) -> None:
        """Publish soon, or later together with what changes meanwhile."""
        self._changed_s = min(self._changed_s, time.monotonic())
        self._is_urgent = self._is_urgent or not can_wait
        self._wake.set()

    def snapshot(self, connection: int) -> ReportedState:
        """Return the reported state; each call takes the next sequence of the connection."""
        self._sequence = self._sequence + 1 if connection == self._connection else 0
        self._connection, self._told_datasets, trust = connection, self.datasets(), self.trust()
        self._told_trust_problem = trust.problem if trust else None
        return ReportedState(
            connection=connection,
            sequence=self._sequence,
            at=self._now(),
            epoch=self._order[0],
            generation=self._order[1],
            agent_version=self._agent_version,
            time_zone=self.time_zone(),
            hardware=self.hardware,
            memory_available_bytes=self.memory_available(),
            runtimes=self.runtimes,
            targets=self.targets,
            datasets=self._told_datasets,
            models=_first(self.models(), MAX_REPORTED_MODELS),
            sections=_first(self._sections, MAX_REPORTED_SECTIONS),
            trust=trust,
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
                self._is_urgent, self._changed_s, self._trust_changed_s = False, math.inf, math.inf
                report = self._loaded(self.message(connection))
                await link.say("reported", report, retain=True, traces=self.carried())
            except LinkError:
                await anyio.sleep(0.2)  # the link is about to notice that it is down
                continue
            seen, self._said_s = connection, time.monotonic()
            await self._wait_for_change(link)

    async def _wait_for_change(self, link: Link) -> None:
        async with anyio.create_task_group() as group:

            async def ended() -> None:
                await link.wait_disconnected()
                group.cancel_scope.cancel()

            group.start_soon(ended)
            await anyio.sleep(self._pause_s)
            while (left_s := self._due_s() - time.monotonic()) > 0:
                self._wake = anyio.Event()
                with anyio.move_on_after(left_s):
                    await self._wake.wait()
            group.cancel_scope.cancel()

    def _due_s(self) -> float:
        """When to publish, by the monotonic clock; infinity while there is nothing new."""
        if self._is_urgent:
            return 0.0
        linger_s = self._progress_s if self._is_working() else self._linger_s
        return min(self._changed_s + linger_s, self._trust_changed_s + self._trust_s)

    def _is_working(self) -> bool:
        return any(one.state == "working" and one.problem is None for one in self._sections.values())

    def _loaded(self, report: bytes) -> bytes:
        """Return a report with the events that wait, as far as there is room for them."""
        carried = self.carry(MAX_REPORT_BYTES - _BATCH_BYTES - len(report))
        return report if carried is None else load(report, *carried)


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


def make_reporter(settings: AgentSettings, runtimes: Runtimes, now: Callable[[], datetime]) -> Reporter:
    """Return the reporter of this board, which tells of runtimes that do not work here."""
    hardware, link, asked = detect(), settings.link, settings.runtimes
    usable = tuple(one for one in runtimes.usable() if not asked or one in asked)
    reporter = Reporter(
        hardware,
        usable,
        targets_for(hardware, usable),
        __version__,
        now,
        pause_s=link.report_pause_s,
        linger_s=link.report_linger_s,
        progress_s=link.report_progress_s,
        trust_s=link.report_trust_s,
    )
    for module, error in runtimes.broken.items():
        reporter.section(f"runtimes/{module}", SectionReport(state="failed", problem=error.to_problem()))
    reporter.memory_available = available_memory_bytes
    return reporter
