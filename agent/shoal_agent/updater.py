"""Brings one model to the version that the hub wants, along `update_states` and by the rules of `update_rules`.

Each step is durable before the next begins, so that a start after a power cut finds the old version or the new
one. What can be mended by waiting raises FetchError, LinkError or WaitingError; what can not is noted as the
deployment's failure.

One step of a model is taken at a time, but for what has to travel: a transfer holds up no way back.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from logging import getLogger
from typing import Protocol

import anyio
from anyio import to_thread

from shoal_agent.attempt import Attempt, OnStep
from shoal_agent.blobs import BlobStore
from shoal_agent.bringing import Files
from shoal_agent.conditions import Conditions
from shoal_agent.encryption_key import EncryptionKey, OtherRecipientError
from shoal_agent.engine_watch import WatchedEngine
from shoal_agent.engines import CostMeter, LoadEngine, load_version
from shoal_agent.errors import (
    AgentError,
    DeploymentFailedError,
    DiskError,
    EndedError,
    ExpiredError,
    FetchError,
    HeldError,
    LinkError,
    NoRoomError,
    ProbeError,
    WaitingError,
)
from shoal_agent.fetch import Fetcher
from shoal_agent.keeper import Keeper
from shoal_agent.loading import Chosen, Loader, Profile
from shoal_agent.residency import Residency
from shoal_agent.serving import ModelServer, ServedModel
from shoal_agent.slots import Slot, SlotFile, failure_of, failure_to_get, slot_for
from shoal_agent.turns import WAY_BACK
from shoal_agent.update_rules import (
    check_activation,
    check_expiry,
    check_fetch,
    check_hold,
    kind_of,
    open_s,
    seconds_left,
    starts_allowed,
    wait_after,
)
from shoal_agent.update_states import SERVES_IT
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.reported import Problem
from shoal_contract.telemetry import DeploymentEvent
from shoal_contract.update_policy import FailureKind

__all__ = ["DOWNLOADED", "RETRYABLE", "DeploymentFailedError", "ManifestTrust", "OnStep", "Profile", "Updater"]
_log = getLogger(__name__)
RETRYABLE = (FetchError, HeldError, LinkError, DiskError, OtherRecipientError)
"""Errors that waiting may mend; the version is not marked bad, unless its policy says how often they may come."""
DOWNLOADED = "downloaded"
UNLOADED = "unloaded"


class ManifestTrust(Protocol):
    """Who knows which manifests are listed; TUF, in production."""

    async def check_manifest(self, name: str, version: int, ref: ArtifactRef) -> None:
        """Return if the model's role lists this manifest.

        Raises:
            HeldError: It does not, as far as the device knows.
        """


def _tell_nobody(_: DeploymentEvent) -> None:
    """Stands in where nobody wants to know."""


@asynccontextmanager
async def _released(lock: anyio.Lock) -> AsyncIterator[None]:
    """Let go of a lock for the length of the block; who is cancelled in it has the lock again, too."""
    lock.release()
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await lock.acquire()


@dataclass(frozen=True)
class Updater:
    """The updater of one model."""

    name: str
    file: SlotFile
    blobs: BlobStore
    fetcher: Fetcher
    server: ModelServer
    profile: Profile
    trust: ManifestTrust
    boot_attempts: int
    encryption_key: EncryptionKey
    conditions: Conditions = field(default_factory=Conditions)
    load_engine: LoadEngine = load_version
    claimant: str = ""
    """Who it is among those that fetch; the model's name, if nothing is said."""
    serving_bases: Callable[[], list[Slot]] = list
    """Of a candidate that is tried: what serves beside it, for deltas."""
    cost_meter: CostMeter | None = None
    """Measures what a new version costs here, for the hub to predict by; None: it is not measured."""
    residency: Residency | None = None
    """Decides whether the version that serves is loaded; None: it always is."""
    _lock: anyio.Lock = field(default_factory=anyio.Lock, init=False, repr=False, compare=False)
    """Held by who changes the roles, or goes by them."""

    async def boot(self, on_step: OnStep = _tell_nobody) -> None:
        """Serve the active version again after a start, see `Keeper.boot`.

        Raises:
            AgentError: Neither the active nor the previous version can serve.
        """
        await self._keeper.boot(on_step)

    async def check_engine(self, on_step: OnStep) -> None:
        """Test the version that serves again, see `Keeper.check_engine`; what is being fetched goes on meanwhile.

        Raises:
            DeploymentFailedError: It has failed, and the version before serves.
        """
        async with self._lock:
            await self._keeper.check_engine(on_step)

    async def load_again(self) -> None:
        """Load the version that the roles say serves, if it rests on the disk and there is room for it.

        Raises:
            AgentError: It does not load.
        """
        async with self._lock:
            await self._keeper.load_again()

    async def open_previous(self) -> ServedModel | None:
        """Load the version before beside the one that serves, see `Keeper.open_previous`; the caller closes it.

        Raises:
            AgentError: It does not load, or there is no room for it.
        """
        async with self._lock:
            return await self._keeper.open_previous()

    async def converge(self, wanted: DesiredModel, order: tuple[int, int], on_step: OnStep) -> str | None:
        """Make `wanted` the version that serves.

        Returns:
            `downloaded` if it is a candidate, as it is to be downloaded only; `unloaded` if it was proved and there is
            no room for it in memory, or it was told to unload; else None: it serves.

        Raises:
            FetchError, HeldError, LinkError, DiskError, OtherRecipientError: Not yet; try again.
            WaitingError: Not yet; it says when to look again.
            DeploymentFailedError: The version can not serve here; the last good one does.
        """
        async with self._lock:
            return await self._keep_files(wanted, order, on_step)

    async def _keep_files(self, wanted: DesiredModel, order: tuple[int, int], on_step: OnStep) -> str | None:
        """Converge, and keep what has come for as long as it may be needed."""
        self._files.begin(wanted)
        is_over = True
        try:
            return await self._converge(wanted, order, on_step)
        except (WaitingError, *RETRYABLE) as error:
            is_over = error.to_problem().code == NoRoomError.code  # else what has come is not for others to delete
            raise
        finally:
            if is_over:
                self._files.end()

    async def _converge(self, wanted: DesiredModel, order: tuple[int, int], on_step: OnStep) -> str | None:
        failure = self.file.slots.forbidding(wanted)
        if failure is not None:
            raise DeploymentFailedError(failure.problem, "roll_back" if failure.is_rolled_back else "")
        attempt = Attempt(self.name, wanted, order, on_step)
        try:
            return await self._deploy(attempt)
        except WaitingError:
            attempt.on("held")
            raise
        except AgentError as error:
            await self._retry_or_give_up(error, attempt)
            raise

    async def take_off(self) -> None:
        """Stop serving the model once the device's owner lets it go; what does not serve goes at once.

        Raises:
            WaitingError: The owner holds what serves.
            DiskError: The roles could not be deleted.
        """
        async with self._lock:
            if self.server.get(self.name) is not None:
                check_hold(self.conditions.moment(), f"taking {self.name} off this device")
            await self.remove()

    async def remove(self) -> None:
        """Stop serving the model: the hub no longer wants it here."""
        self._files.end()
        await self.server.swap(self.name, None)
        await self.blobs.work(self.file.forget)

    async def _deploy(self, attempt: Attempt) -> str | None:
        if await self._is_settled(attempt):
            return self._rests()
        if await self._is_downloaded(attempt):
            return DOWNLOADED
        check_expiry(attempt.policy, self.conditions.now(), attempt.what)
        self.conditions.probes.check(attempt.policy.probes)  # nothing is fetched that can not be proved here
        if self._is_tried(attempt.wanted):
            await self._keeper.put(self.file.slots.asked(attempt.wanted, attempt.order))
            attempt.on("tried")
            attempt.begin_activation()
            await self._prove(attempt)
            return self._rests()
        chosen = await self._take_candidate(attempt)
        if chosen is None:
            async with _released(self._lock):  # it may take hours, and what serves may have to go back meanwhile
                chosen = await self._fetch(attempt)
        served = await self._load_candidate(chosen, attempt)
        with anyio.CancelScope(shield=True):  # from here on the engine belongs to somebody
            if attempt.policy.download_only:
                await to_thread.run_sync(served.engine.close)
                await self._keeper.put(self.file.slots.readied())
                attempt.on("kept")
                return DOWNLOADED
            await self._activate(served, attempt)
        await self._prove(attempt)
        return self._rests()

    def _rests(self) -> str | None:
        """Return how it is reported that what is wanted is on the disk and not in memory; None: it serves."""
        return UNLOADED if self.residency is not None and self.server.get(self.name) is None else None

    async def _is_settled(self, attempt: Attempt) -> bool:
        """Whether what is wanted serves and has been proved; an unproven version that nobody wants gives way."""
        slots, wanted = self.file.slots, attempt.wanted
        if slots.active is not None and not slots.active.is_what(wanted) and (left := slots.gave_way()) != slots:
            with anyio.CancelScope(shield=True):
                slots = await self._keeper.put(left)
                await self._keeper.serve_active()
        active = slots.active
        if active is None or active.state != "good" or not active.is_what(wanted) or not self._keeper.serves(active):
            return False
        await self._keeper.put(slots.proved(wanted.deployment, attempt.order))
        return True

    async def _is_downloaded(self, attempt: Attempt) -> bool:
        """Whether what is to be downloaded only has been; it has no more to expire."""
        candidate, wanted = self.file.slots.candidate, attempt.wanted
        if not (attempt.policy.download_only and candidate and candidate.is_ready and candidate.is_what(wanted)):
            return False
        if candidate.deployment != wanted.deployment:
            await self._keeper.put(self.file.slots.asked(wanted, attempt.order))
            attempt.on("ready")
            attempt.on("kept")
        return True

    def _is_tried(self, wanted: DesiredModel) -> bool:
        """Whether what is wanted serves already and has to prove itself."""
        active = self.file.slots.active
        return (
            active is not None and active.state == "unproven" and active.is_what(wanted) and self._keeper.serves(active)
        )

    async def _take_candidate(self, attempt: Attempt) -> Chosen | None:
        """Return what is wanted if it has been fetched and tested before and only waits to be activated."""
        candidate = self.file.slots.candidate
        if candidate is None or not candidate.is_ready or not candidate.is_what(attempt.wanted):
            return None
        file = ArtifactRef(sha256=candidate.file_sha256, size_bytes=candidate.size_bytes)
        if not (await self._files.check_stored(candidate.manifest) and await self._files.check_stored(file)):
            return None
        self._check_activation(attempt)
        chosen = await self._loader.choose(attempt.wanted)
        attempt.on("ready")
        return chosen

    async def _fetch(self, attempt: Attempt) -> Chosen:
        """Have the manifest and the variant's file in the store."""
        policy, moment = attempt.policy, self.conditions.moment()
        is_here = self._is_on_disk(attempt.wanted)  # the way back to the version before waits for nobody's transfer
        if not is_here:
            check_fetch(policy, moment, attempt.what)
        # What is in a slot has passed here once: a start serves it again without asking, with or without a hub.
        await self.trust.check_manifest(self.name, attempt.wanted.version, attempt.wanted.manifest)
        try:
            with anyio.fail_after(None if is_here else open_s(policy, moment)):
                priority = WAY_BACK if attempt.wanted.is_urgent else policy.priority
                async with nullcontext() if is_here else self.conditions.turns.take(priority):
                    attempt.on("go")
                    with self.fetcher.within(policy.fetch_timeout_s, is_urgent=attempt.wanted.is_urgent):
                        chosen, attempt.fetched_bytes = await self._files.bring(
                            attempt.wanted, [*self.serving_bases(), *self.file.slots.bases()], self._loader
                        )
        except TimeoutError as error:
            check_expiry(policy, self.conditions.now(), attempt.what)
            check_fetch(policy, self.conditions.moment(), attempt.what)
            message = f"fetching {attempt.what}: not done in its time"
            raise FetchError(message, "allow more time (fetch_timeout_s), or see why the link is slow") from error
        attempt.on("done")
        return chosen

    def _is_on_disk(self, wanted: DesiredModel) -> bool:
        """Whether what is wanted is in a role already, with its files."""
        return any(
            slot.is_what(wanted) and self.blobs.has(slot.manifest.sha256) and self.blobs.has(slot.file_sha256)
            for slot in self.file.slots.held()
        )

    async def _load_candidate(self, chosen: Chosen, attempt: Attempt) -> ServedModel:
        """Note the candidate, then load it: a file that ends the whole process is not tried for ever."""
        slots = await self._keeper.put(self.file.slots.staged(slot_for(chosen.variant, attempt.wanted, attempt.order)))
        self._files.end()  # its role keeps its files from here on, and a delta is needed no more
        boots = slots.candidate.boots if slots.candidate else 0
        if boots > starts_allowed(attempt.policy, self.boot_attempts):
            raise EndedError(f"loading {attempt.what}: the agent ended {boots} times while it was tried")
        attempt.begin_activation()
        served = await self._load(chosen, attempt.wanted, attempt.policy.activate_timeout_s)
        attempt.cost = served.cost
        attempt.put_off(served.measured_s)
        if attempt.state == "verify":
            attempt.on("done")
        return served

    def _check_activation(self, attempt: Attempt) -> None:
        slots = self.file.slots
        is_bad = slots.failure is not None if slots.active is None else not self._keeper.serves(slots.active)
        moment = self.conditions.moment()
        check_expiry(attempt.policy, moment.now, attempt.what)
        check_activation(attempt.policy, moment, attempt.what, is_bad=is_bad)

    async def _activate(self, served: ServedModel, attempt: Attempt) -> None:
        """Let a loaded candidate serve, if it may; else keep it ready."""
        try:
            try:
                if self.residency is not None:
                    self.residency.check(served)
                self._check_activation(attempt)
            except WaitingError:
                await self._keeper.put(self.file.slots.readied())
                raise
            await self._keeper.put(self.file.slots.activated())
        except AgentError:
            await to_thread.run_sync(served.engine.close)
            raise
        attempt.on("done")
        await self.server.swap(self.name, self._watched(served))
        if not attempt.policy.probes:
            await self._commit(attempt)

    async def _prove(self, attempt: Attempt) -> None:
        """Have the version pass its owner's probes while it serves."""
        if attempt.state == "commit":
            return
        names = attempt.policy.probes
        if names:
            attempt.on("probes")
            facts = {"SHOAL_MODEL": self.name, "SHOAL_VERSION": str(attempt.wanted.version)}
            try:
                kept = self.residency.proving(self.name) if self.residency is not None else nullcontext()
                with kept, anyio.fail_after(attempt.activation_left_s):
                    await self.conditions.probes.require(names, facts)
            except TimeoutError as error:
                limit_s = attempt.policy.activate_timeout_s
                message = f"probes {', '.join(names)} of {attempt.what}: not done {limit_s:g} s after it was loaded"
                raise ProbeError(message, "allow more time (activate_timeout_s), or make the probes quicker") from error
            check_expiry(attempt.policy, self.conditions.now(), attempt.what)  # probes take their time
        with anyio.CancelScope(shield=True):
            await self._commit(attempt)

    async def _commit(self, attempt: Attempt) -> None:
        await self._keeper.put(self.file.slots.committed())
        attempt.on("done")
        if self.residency is not None:
            self.residency.touch(self.name)
            await self.residency.settle(self.name)

    async def _retry_or_give_up(self, error: AgentError, attempt: Attempt) -> None:
        """Return if the same error is to be raised and tried again; else count it, and roll back what serves of it.

        Raises:
            WaitingError: It is tried again after a while.
            DeploymentFailedError: It is not.
        """
        kind = kind_of(error)
        is_limited = kind is not None and kind in attempt.policy.retries
        if isinstance(error, RETRYABLE) and not is_limited:
            attempt.on("held" if attempt.state in SERVES_IT else "retry")
            return
        failures = await self._count(kind, attempt) if kind is not None and is_limited else 1
        wait_s = wait_after(attempt.policy, kind, failures) if kind is not None else None
        problem = error.to_problem()
        with anyio.CancelScope(shield=True):
            if wait_s is None:
                await self._give_up(attempt, error, problem)
            if attempt.state in SERVES_IT:
                await self._keeper.put(self.file.slots.retreated())
                await self._keeper.serve_active()
                attempt.on("retry", problem)
            attempt.on("retry")
        left_s = seconds_left(attempt.policy, self.conditions.now())
        raise WaitingError("retry", str(error), min(wait_s or 0.0, left_s), error.remedy, problem) from error

    async def _count(self, kind: FailureKind, attempt: Attempt) -> int:
        """Count a failure, durably, so that no restart begins to count anew; return how many there are."""
        slots = self.file.slots.counted(attempt.wanted.deployment, kind)
        try:
            await self._keeper.put(slots)
        except DiskError as error:
            _log.error("model %s: a failure is counted in memory only: %s", self.name, error)
            self.file.slots = slots
        return slots.tries.failures[kind] if slots.tries else 1

    async def _give_up(self, attempt: Attempt, error: AgentError, problem: Problem) -> None:
        """Note the failure, see to it that the active version serves, and tell the hub."""
        wanted, slots = attempt.wanted, self.file.slots
        if attempt.state == "begin" and self._is_tried(wanted):
            attempt.on("tried")
        tried = slots.active if attempt.state in SERVES_IT else slots.candidate
        is_bad = tried is not None and tried.is_what(wanted) and not isinstance(error, ExpiredError)
        failure = failure_of(tried, problem) if tried is not None and is_bad else failure_to_get(wanted, problem)
        await self._keeper.put(slots.failed(failure.model_copy(update={"deployment": wanted.deployment})))
        step = ""
        if attempt.state in SERVES_IT:
            attempt.on("failed", problem)
            step = "roll_back"
        await self._keeper.serve_active()
        attempt.on("failed", problem)
        raise DeploymentFailedError(problem, step) from error

    async def _load(self, chosen: Chosen, wanted: DesiredModel, timeout_s: float) -> ServedModel:
        async with self.residency.turn() if self.residency is not None else nullcontext():
            return await self._loader.load(chosen, wanted, timeout_s=timeout_s)

    def _watched(self, served: ServedModel) -> ServedModel:
        """Have the engine watched for a while after it begins to serve."""
        settings, on_failing = self.conditions.settings, partial(self.conditions.on_failing, self.name)
        engine = WatchedEngine(served.engine, settings.watch_s, settings.watch_failures, on_failing)
        return replace(served, engine=engine)

    @property
    def _loader(self) -> Loader:
        return Loader(self.name, self.blobs, self.profile, self.encryption_key, self.load_engine, self.cost_meter)

    @property
    def _keeper(self) -> Keeper:
        conditions, attempts = self.conditions, self.boot_attempts
        return Keeper(self.name, self.file, self.blobs, self.server, self._loader, conditions, attempts, self.residency)

    @property
    def _files(self) -> Files:
        room, claimant = self.conditions.room, self.claimant or self.name
        return Files(self.name, self.blobs, self.fetcher, self.encryption_key, room, claimant)
