"""The trials of this device, one a model: bring the candidate, see that it fits, let it run, and take it away."""

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from shoal_agent.durable import replace_file
from shoal_agent.engines import CostMeter
from shoal_agent.errors import ArtifactError, DiskError, HeldError
from shoal_agent.sections import Converge
from shoal_agent.serving.models import ServedModel
from shoal_agent.slots import known_models
from shoal_agent.trials.arms import Arms
from shoal_agent.trials.shadow import Shadow
from shoal_agent.updater import Updater
from shoal_contract.desired import DesiredTrial
from shoal_contract.telemetry import DeploymentEvent

_log = getLogger(__name__)
SETTLE_S: Final = 600.0
"""A candidate that has run this long is not what ends the agent."""


class TrialError(ArtifactError):
    """The candidate can not be tried on this device; what serves is not touched."""

    code = "trial"
    default_remedy = "end the trial, or try a smaller or corrected version; what serves goes on"


class Trials:
    """All trials that have been here since the start.

    Args:
        folder: `<data>/trials`.
        make_updater: Opens the updater of a model's candidate, which loads it into the arms.
        arms: Where candidates run.
        shadow: Compares those in shadow.
        memory: Reads what this process has in memory. It gives back first what is free: what a delta has left in the
            heap would else be what the candidate is loaded into, and nothing would seem to grow.
        now: Trusted time.
        most_starts: Times that the agent may end while a candidate runs before it is tried no more.
    """

    def __init__(
        self,
        folder: Path,
        make_updater: Callable[[str], Updater],
        arms: Arms,
        shadow: Shadow,
        memory: CostMeter,
        now: Callable[[], datetime],
        most_starts: int,
    ) -> None:
        self._folder = folder
        self._make_updater = make_updater
        self._arms = arms
        self._shadow = shadow
        self._memory = memory
        self._now = now
        self._most_starts = most_starts
        self._updaters: dict[str, Updater] = {}
        self._since_s: dict[str, float] = {}
        self._counted: dict[str, str] = {}

    async def boot(self) -> None:
        """Take up what was tried before; it is loaded when the desired state is read, if that still asks for it."""
        for name in known_models(self._folder):
            try:
                await to_thread.run_sync(self._updater(name).file.put, self._updater(name).file.slots.booted())
            except DiskError as error:
                _log.error("trial of %s: this start could not be counted: %s", name, error)

    def convergence(self, name: str, wanted: DesiredTrial, order: tuple[int, int]) -> Converge:
        """Return what makes a trial run; `order` is the (epoch, generation) that asks for it."""
        return partial(self._converge, name, wanted, order)

    def removal(self, name: str) -> Converge:
        """Return what ends a trial and lets go of its candidate."""
        return partial(self._remove, name)

    def held(self) -> set[str]:
        """Names of the models that have a candidate here, or whose candidate failed."""
        return {name for name, updater in self._updaters.items() if not updater.file.slots.is_empty()}

    def artifacts(self) -> set[str]:
        """Hashes of the files that candidates need."""
        return {sha256 for updater in self._updaters.values() for sha256 in updater.file.slots.artifacts()}

    async def run(self) -> None:
        """Forget the starts of candidates that have run long enough to be none that ends the agent, for ever."""
        while True:
            await anyio.sleep(SETTLE_S / 10)
            settled = [name for name, since_s in self._since_s.items() if time.monotonic() - since_s >= SETTLE_S]
            for name in settled:
                self._since_s.pop(name, None)
                await to_thread.run_sync(self._forget_starts, name)

    async def aclose(self) -> None:
        """End every trial for now; a clean end of the agent is no candidate's fault."""
        for name in self._arms.candidates.names():
            self._arms.stop(name)
            await self._arms.candidates.swap(name, None)
            await to_thread.run_sync(self._forget_starts, name)

    async def _converge(self, name: str, wanted: DesiredTrial, order: tuple[int, int]) -> None:
        self._arms.stop(name)
        if self._now() >= wanted.ends_at:
            await self._remove(name)
            return
        served = self._arms.serving.get(name)
        if served is None or served.version != wanted.against:
            found = f"version {served.version}" if served else "nothing"
            message = f"trying {name} version {wanted.candidate.version} against {wanted.against}: {found} serves"
            raise HeldError(message, "the trial begins as soon as that version serves here")
        if self._counted.get(name) != wanted.id:  # once for each start of the agent, however often it is tried
            await to_thread.run_sync(self._count_start, name, wanted)
            self._counted[name] = wanted.id
        grown = _Growth(self._memory, partial(_note, name))
        await self._updater(name).converge(wanted.candidate, order, grown.on_step)
        candidate = self._arms.candidates.get(name)
        try:
            _check_fits(name, wanted, served, candidate, grown.grown_bytes())
        except TrialError:
            await self._arms.candidates.swap(name, None)
            await to_thread.run_sync(self._forget_starts, name)
            raise
        self._shadow.begin(name, wanted)
        self._arms.start(name, wanted, self._now())
        self._since_s[name] = time.monotonic()
        _log.info("%s version %d is tried in %s mode", name, wanted.candidate.version, wanted.mode)

    async def _remove(self, name: str) -> None:
        self._arms.stop(name)
        self._shadow.end(name)
        await self._updater(name).remove()
        self._since_s.pop(name, None)
        await to_thread.run_sync(self._forget_starts, name)

    def _count_start(self, name: str, wanted: DesiredTrial) -> None:
        """Note that the candidate is about to run: if the agent ends with it, again and again, that is the reason.

        Raises:
            TrialError: It has ended too many times.
            DiskError: It could not be noted.
        """
        path = self._folder / name / "starts"
        known = path.read_text().split() if path.exists() else []
        starts = int(known[1]) if known[:1] == [wanted.id] and known[1:] and known[1].isdecimal() else 0
        if starts >= self._most_starts:
            message = f"trying {name} version {wanted.candidate.version}: the agent ended {starts} times while it ran"
            raise TrialError(message)
        try:
            replace_file(path, f"{wanted.id} {starts + 1}".encode())
        except OSError as error:
            raise DiskError(f"noting a start of the trial of {name}: {error}", "free some disk space") from error

    def _forget_starts(self, name: str) -> None:
        try:
            (self._folder / name / "starts").unlink(missing_ok=True)
        except OSError as error:
            _log.error("trial of %s: its starts could not be forgotten: %s", name, error)

    def _updater(self, name: str) -> Updater:
        if name not in self._updaters:
            self._updaters[name] = self._make_updater(name)
        return self._updaters[name]


class _Growth:
    """What the process has grown by since the candidate began to be loaded, once all was fetched."""

    def __init__(self, memory: CostMeter, note: Callable[[DeploymentEvent], None]) -> None:
        self._memory = memory
        self._note = note
        self._before_bytes: int | None = None

    def on_step(self, event: DeploymentEvent) -> None:
        """Note a step; at `verify` the files are there, and loading begins."""
        if event.step == "verify":
            self._before_bytes = self._memory.held_bytes()
        self._note(event)

    def grown_bytes(self) -> int:
        """Return the growth; 0 where nothing was loaded now."""
        return self._memory.held_bytes() - self._before_bytes if self._before_bytes is not None else 0


def _check_fits(
    name: str, wanted: DesiredTrial, served: ServedModel, candidate: ServedModel | None, grown_bytes: int
) -> None:
    """See that a loaded candidate takes what the serving version takes, and no more memory than it may.

    Raises:
        TrialError: It does not.
    """
    doing = f"trying {name} version {wanted.candidate.version}"
    if candidate is None or candidate.version != wanted.candidate.version:
        raise TrialError(f"{doing}: it is not loaded", "start the trial again; this is a defect of the agent")
    if candidate.manifest.inputs != served.manifest.inputs:
        remedy = "try a version with the same inputs, or roll it out instead"
        raise TrialError(f"{doing}: its inputs are not those of version {served.version}, which serves", remedy)
    if grown_bytes > wanted.max_memory_bytes:
        message = f"{doing}: the agent grew by {grown_bytes} bytes, at most {wanted.max_memory_bytes} are allowed"
        raise TrialError(message, "allow the trial more memory, or try a smaller version")


def _note(name: str, event: DeploymentEvent) -> None:
    """Note a step of a candidate in the log; the hub sees the trial's section."""
    _log.info("trial of %s: %s version %d", name, event.step, event.version)
