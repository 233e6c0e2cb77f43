"""Keeps a version of one model serving: after a start, after a failure, and when what serves turns out bad.

What has once been good is served from this disk alone, with or without a hub.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from logging import getLogger

import anyio
from anyio import to_thread

from shoal_agent.attempt import Attempt, OnStep
from shoal_agent.blobs import BlobStore
from shoal_agent.conditions import Conditions
from shoal_agent.engines import EngineError, run_golden
from shoal_agent.errors import AgentError, DeploymentFailedError, DiskError, EndedError, ExpiredError
from shoal_agent.loading import Loader
from shoal_agent.residency import Residency
from shoal_agent.serving import ModelServer, ServedModel
from shoal_agent.slots import Slot, SlotFile, Slots, failure_of, failure_to_get
from shoal_agent.update_rules import check_expiry, starts_allowed
from shoal_contract.desired import DesiredModel
from shoal_contract.reported import Problem

_log = getLogger(__name__)


@dataclass(frozen=True)
class Keeper:
    """The roles of one model, and what serves by them."""

    name: str
    file: SlotFile
    blobs: BlobStore
    server: ModelServer
    loader: Loader
    conditions: Conditions
    boot_attempts: int
    residency: Residency | None = None
    """Decides whether a version is loaded; None: each is."""

    async def boot(self, on_step: OnStep) -> None:
        """Serve the active version again after a start; an unproven one must pass its self-test first.

        One that has probes to pass stays unproven until `converge` has run them.

        Raises:
            AgentError: Neither the active nor the previous version can serve.
        """
        slots = self.file.slots.booted()
        try:
            await self.put(slots)
        except DiskError as error:
            _log.error("model %s: this start could not be counted: %s", self.name, error)  # it serves all the same
        active = slots.active
        if active is None:
            return
        try:
            if active.state == "unproven":
                self._check_trial(active)
            await self._serve(active)
        except AgentError as error:
            await self._boot_previous(active, error, on_step)
        else:
            if active.state == "good" or active.policy is None or not active.policy.probes:
                await self.put(self.file.slots.committed())

    async def check_engine(self, on_step: OnStep) -> None:
        """Test the version that serves again, as its requests keep failing; go back to the one before if it fails.

        What clients send may be all that is wrong: then the self-test passes and nothing changes.

        Raises:
            DeploymentFailedError: It has failed, and the version before serves.
        """
        active = self.file.slots.active
        if active is None or active.state != "good" or not self.serves(active):
            return
        try:
            await self._test_again()
        except EngineError as error:
            if self.file.slots.previous is None:
                _log.error("model %s: version %d fails, and none is before it: %s", self.name, active.version, error)
                return
            await self._withdraw(active, error, on_step)
        _log.warning("model %s: requests keep failing, and its self-test passes: see what is sent", self.name)

    async def serve_active(self) -> None:
        """See to it that what the roles say serves."""
        active = self.file.slots.active
        try:
            if active is None:
                await self.server.swap(self.name, None)
            elif not self.serves(active):
                if self.residency is not None:
                    self.residency.touch(self.name)
                await self._serve(active)
        except AgentError as error:
            _log.error("model %s: what was good before does not serve either: %s", self.name, error)

    async def load_again(self) -> None:
        """Load what the roles say serves and rests on the disk, if there is room for it.

        Raises:
            AgentError: It does not load.
        """
        active = self.file.slots.active
        if active is not None and self.server.get(self.name) is None:
            await self._serve(active)

    async def open_previous(self) -> ServedModel | None:
        """Load the version before beside the one that serves; None where there is none that was good.

        Raises:
            AgentError: It does not load, or there is no room for it beside what is loaded.
        """
        previous = self.file.slots.previous
        if previous is None or previous.state != "good":
            return None
        served = await self._load(previous)
        try:
            if self.residency is not None:
                self.residency.check_beside(served)
        except AgentError:
            await to_thread.run_sync(served.engine.close)
            raise
        return served

    async def put(self, slots: Slots) -> Slots:
        """Make a transition durable in a thread: an fsync on an SD card takes as long as many requests."""
        return await self.blobs.work(self.file.put, slots)

    def serves(self, slot: Slot) -> bool:
        """Whether a version is the one that answers now, or that rests on the disk until it is asked or told to."""
        served = self.server.get(self.name)
        if served is not None:
            return (served.version, served.manifest_sha256) == (slot.version, slot.manifest.sha256)
        absence = self.server.absent().get(self.name)
        return absence is not None and absence.manifest_sha256 == slot.manifest.sha256

    def _check_trial(self, active: Slot) -> None:
        """Return if an unproven version may go on after a start.

        Raises:
            EndedError: Too many starts have found it unproven.
            ExpiredError: Its deployment's time is over.
        """
        if active.boots > starts_allowed(active.policy, self.boot_attempts):
            message = f"starting {self.name} version {active.version}: {active.boots - 1} starts did not prove it"
            raise EndedError(message)
        if active.policy is not None:
            check_expiry(active.policy, self.conditions.now(), f"{self.name} version {active.version}")

    async def _boot_previous(self, active: Slot, error: AgentError, on_step: OnStep) -> None:
        """Serve the version before. A version that is bad stays out; damage on the disk is mended by the next wish."""
        slots, problem = self.file.slots, error.to_problem()
        if active.state == "unproven":
            is_bad = not isinstance(error, ExpiredError)
            failure = failure_of(active, problem) if is_bad else failure_to_get(_wanted_in(active), problem)
            after = slots.failed(failure)
        elif slots.previous is None:
            raise error
        else:
            _log.error("model %s: version %d can not serve: %s", self.name, active.version, error)
            after = slots.withdrawn(problem) if isinstance(error, EngineError) else slots.fell_back()
        try:
            if after.active is not None:
                await self._serve(after.active)  # first of all: the disk may be full
            self._tell_rolled_back(active, problem, on_step, is_final=after.failure is not None)
        finally:
            await self.put(after)

    async def _withdraw(self, active: Slot, error: AgentError, on_step: OnStep) -> None:
        """Go back from a version that was committed and has turned out bad."""
        problem = error.to_problem()
        with anyio.CancelScope(shield=True):
            await self.put(self.file.slots.withdrawn(problem))
            await self.serve_active()
            self._tell_rolled_back(active, problem, on_step, is_final=True)
        raise DeploymentFailedError(problem, "roll_back") from error

    def _tell_rolled_back(self, slot: Slot, problem: Problem, on_step: OnStep, *, is_final: bool) -> None:
        back = Attempt(self.name, _wanted_in(slot), slot.order, on_step, "commit")
        back.on("failed", problem)
        if is_final:
            back.on("failed", problem)

    async def _test_again(self) -> None:
        with self.server.borrow(self.name) as served:
            if served is not None:
                variant = next(one for one in served.manifest.variants if one.target == served.target)
                await to_thread.run_sync(run_golden, served.engine, served.manifest, variant)

    async def _serve(self, slot: Slot) -> None:
        if self.residency is not None:
            absence = await self.residency.make_room(self.name, slot)
            if absence is not None:
                await self.server.swap(self.name, None, absence)
                return
        await self.server.swap(self.name, await self._load(slot))
        if self.residency is not None:
            await self.residency.settle(self.name)

    async def _load(self, slot: Slot) -> ServedModel:
        await self.blobs.work(self.blobs.check, slot.manifest.sha256)
        if slot.encrypted is None:  # else opening it checks each byte
            await self.blobs.work(self.blobs.check, slot.sha256)
        wanted = _wanted_in(slot)
        chosen = await self.loader.choose(wanted)
        timeout_s = slot.policy.activate_timeout_s if slot.policy and slot.state == "unproven" else None
        async with self.residency.turn() if self.residency is not None else nullcontext():
            return await self.loader.load(chosen, wanted, timeout_s=timeout_s, is_known=True)


def _wanted_in(slot: Slot) -> DesiredModel:
    """Return the wish that a slot was filled for."""
    return DesiredModel(
        version=slot.version,
        target=slot.target,
        manifest=slot.manifest,
        deployment=slot.deployment,
        key=slot.key,
        policy=slot.policy,
    )
