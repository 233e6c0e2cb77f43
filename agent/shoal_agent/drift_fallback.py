"""Has the version before answer while the inputs of the one that serves have drifted, with or without a hub.

The roles on the disk do not change: the hub's wish stands, and is tried again after a time, and after a start.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from logging import getLogger
from typing import NamedTuple

import anyio
from anyio import to_thread

from shoal_agent.errors import AgentError
from shoal_agent.models import Models
from shoal_agent.monitor import Monitor
from shoal_agent.reporting import Reporter
from shoal_agent.residency import Residency
from shoal_agent.serving import ServedModel
from shoal_agent.telemetry import Telemetry
from shoal_agent.trials import Arms
from shoal_contract.desired import DesiredConfig, DriftFallBack
from shoal_contract.reported import FallbackReport, ModelReport

_log = getLogger(__name__)
_LOOK_S = 5.0
"""Between two looks at what stands in."""


@dataclass(frozen=True)
class _Fallen:
    """What answers instead of which version, and until when by the monotonic clock."""

    instead_of: int
    until_s: float
    report: FallbackReport


class DriftFallbacks:
    """The models of this device that have gone back by themselves. Belongs to the event loop.

    Args:
        arms: Decide who answers.
        monitor: Has this device's own evidence.
        open_before: Loads the version before the one that serves, by the model's name; None where there is none that
            was good.
        report: Called when what there is to report has changed.
        now: Trusted time.
        monotonic: Seconds that only rise.
    """

    def __init__(
        self,
        arms: Arms,
        monitor: Monitor,
        open_before: Callable[[str], Awaitable[ServedModel | None]],
        report: Callable[[], None],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._arms = arms
        self._monitor = monitor
        self._open_before = open_before
        self._report = report
        self._now = now
        self._monotonic = monotonic
        self._wanted: DriftFallBack | None = None
        self._fallen: dict[str, _Fallen] = {}
        self._refused: dict[str, tuple[int, float]] = {}
        """By model: a version for which none could stand in, and until when that is not tried again."""
        self._news = anyio.Event()

    def configure(self, config: DesiredConfig) -> None:
        """Go by this configuration from now on."""
        self._wanted = config.drift_fall_back
        self.notice()

    def notice(self) -> None:
        """Look soon: windows have ended."""
        self._news.set()

    def shown(self, reports: Mapping[str, ModelReport]) -> dict[str, ModelReport]:
        """Return models' reports with what answers instead."""
        return {
            name: report.model_copy(update={"fallback": self._fallen[name].report}) if name in self._fallen else report
            for name, report in reports.items()
        }

    def fallen(self) -> dict[str, int]:
        """Return the versions that answer instead, by model."""
        return {name: fallen.report.version for name, fallen in sorted(self._fallen.items())}

    def has_drifted(self, name: str, version: int) -> bool:
        """Whether the inputs of what is to answer have drifted, though another version stands in; from any thread."""
        return name in self._fallen or self._monitor.has_drifted(name, version)

    async def run(self) -> None:
        """Look whenever there is news, and often while something stands in, for ever."""
        try:
            while True:
                self._news = anyio.Event()
                await self.look()
                # Nobody tells when something else serves: what stands in then answers no more, and is let go of here.
                with anyio.move_on_after(_LOOK_S if self._fallen else None):
                    await self._news.wait()
        finally:
            with anyio.CancelScope(shield=True):
                self._fallen.clear()
                await self._arms.standing_in.aclose()

    async def look(self) -> None:
        """Have versions answer again whose time away is over, and go back from those that have drifted."""
        for name, fallen in list(self._fallen.items()):
            served = self._arms.serving.get(name)
            is_meant = served is not None and served.version == fallen.instead_of
            if not is_meant or self._wanted is None or self._monotonic() >= fallen.until_s:
                await self._come_back(name, fallen)
        if self._wanted is not None:
            for (name, version), features in self._monitor.drifted_features().items():
                served = self._arms.serving.get(name)
                if served is None or served.version != version or name in self._fallen:
                    continue
                if features >= self._wanted.features and not self._is_refused(name, version):
                    await self._fall_back(served, features, self._wanted.for_s)

    def _is_refused(self, name: str, version: int) -> bool:
        refused, until_s = self._refused.get(name, (0, 0.0))
        return refused == version and self._monotonic() < until_s

    async def _fall_back(self, served: ServedModel, features: int, for_s: float) -> None:
        name, version = served.name, served.version
        doing = f"{name} version {version}: {features} of its features have drifted"
        try:
            before = await self._open_before(name)
        except AgentError as error:
            _log.error("%s, and the version before does not stand in: %s; %s", doing, error, error.remedy)
            before = None
        if self._arms.serving.get(name) is not served or self._wanted is None:  # loading took a while
            if before is not None:
                await to_thread.run_sync(before.engine.close)
            return
        if before is None or before.manifest.inputs != served.manifest.inputs:
            _log.warning("%s, and no version before can stand in: it goes on serving", doing)
            self._refused[name] = (version, self._monotonic() + for_s)  # not at every window; a disk may come back
            if before is not None:
                await to_thread.run_sync(before.engine.close)
            return
        self._arms.instead_of[name] = version
        await self._arms.standing_in.swap(name, before)
        report = FallbackReport(version=before.version, since_at=self._now(), features=features)
        self._fallen[name] = _Fallen(version, self._monotonic() + for_s, report)
        _log.warning("%s: version %d answers for %g s", doing, before.version, for_s)
        self._report()

    async def _come_back(self, name: str, fallen: _Fallen) -> None:
        """Have the version answer again, and judge it by what comes from now on."""
        del self._fallen[name]
        self._arms.instead_of.pop(name, None)
        self._monitor.forget_evidence(name, fallen.instead_of)
        await self._arms.standing_in.swap(name, None)
        _log.info("%s: version %d stands in no longer", name, fallen.report.version)
        self._report()


class Wiring(NamedTuple):
    """Parts of the agent that versions which stand in are wired to."""

    arms: Arms
    monitor: Monitor
    models: Models
    residency: Residency
    reporter: Reporter
    telemetry: Telemetry


def make_fallbacks(wiring: Wiring, now: Callable[[], datetime]) -> DriftFallbacks:
    """Return what looks whenever windows have ended, goes into the reports of models and counts as their memory."""
    arms, monitor, models, residency, reporter, telemetry = wiring
    fallbacks = DriftFallbacks(arms, monitor, models.open_previous, reporter.touch, now)

    def beside(name: str) -> int:
        standing_in = arms.standing_in.get(name)
        return (standing_in.resident_bytes or 1) if standing_in is not None else 0

    residency.beside = beside
    reporter.models = lambda: fallbacks.shown(models.reports())
    telemetry.on_windows = fallbacks.notice
    return fallbacks
