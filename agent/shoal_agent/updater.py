"""Brings one model to the version that the hub wants: fetch, verify, stage, activate, commit or roll back.

Each step is durable before the next begins, so that a start after a power cut finds the old version or the new
one. What can be mended by waiting raises FetchError or LinkError; what can not is noted as the deployment's failure.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import anyio
from anyio import to_thread

from shoal_agent.blobs import BlobStore
from shoal_agent.deltas import Deltas
from shoal_agent.encryption_key import EncryptionKey, OtherRecipientError
from shoal_agent.engines import LoadEngine, load_engine, run_golden
from shoal_agent.errors import AgentError, ArtifactError, DiskError, FetchError, HeldError, LinkError
from shoal_agent.fetch import Fetcher
from shoal_agent.plain_file import plain_file
from shoal_agent.serving import ModelServer, ServedModel
from shoal_agent.slots import Slot, SlotFile, Slots, slot_for
from shoal_agent.trust import choose_variant, read_manifest
from shoal_contract.desired import ArtifactRef, DesiredModel
from shoal_contract.limits import MAX_MANIFEST_BYTES
from shoal_contract.manifest import Variant, VersionManifest
from shoal_contract.reported import Problem, Runtime
from shoal_contract.telemetry import DeploymentEvent

_log = getLogger(__name__)
Step = Literal["fetch", "verify", "stage", "activate", "commit", "roll_back", "fail"]
OnStep = Callable[[DeploymentEvent], None]
RETRYABLE = (FetchError, HeldError, LinkError, DiskError, OtherRecipientError)
"""Errors that waiting may mend; the version is not marked bad."""


class ManifestTrust(Protocol):
    """Who knows which manifests are listed; TUF, in production."""

    async def check_manifest(self, name: str, version: int, ref: ArtifactRef) -> None:
        """Return if the model's role lists this manifest.

        Raises:
            HeldError: It does not, as far as the device knows.
        """


class DeploymentFailedError(AgentError):
    """The deployment has failed for good; the last good version serves."""

    code = "deployment_failed"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message, problem.remedy)
        self.problem = problem

    def to_problem(self) -> Problem:
        """Return the problem as it was first noted."""
        return self.problem


class Profile(NamedTuple):
    """What this device can run."""

    targets: tuple[str, ...]
    runtimes: tuple[Runtime, ...]


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
    load_engine: LoadEngine = load_engine

    async def boot(self) -> None:
        """Serve the active version again after a start; an unproven one must pass its self-test first.

        Raises:
            AgentError: Neither the active nor the previous version can serve.
        """
        slots = self.file.slots.booted()
        try:
            await self._put(slots)
        except DiskError as error:
            _log.error("model %s: this start could not be counted: %s", self.name, error)  # it serves all the same
        active = slots.active
        if active is None:
            return
        if active.state == "unproven" and active.boots > self.boot_attempts:
            message = f"starting {self.name} version {active.version}: {active.boots - 1} starts did not prove it"
            await self._boot_previous(active, ArtifactError(message))
            return
        try:
            await self._serve(active)
        except AgentError as error:
            await self._boot_previous(active, error)
        else:
            await self._put(self.file.slots.committed())

    async def converge(self, wanted: DesiredModel, order: tuple[int, int], on_step: OnStep) -> None:
        """Make `wanted` the version that serves.

        Raises:
            FetchError, HeldError, LinkError, DiskError, OtherRecipientError: Not yet; try again.
            DeploymentFailedError: The version can not serve here; the last good one does.
        """
        slots = self.file.slots
        if slots.failure is not None and slots.failure.deployment == wanted.deployment:
            raise DeploymentFailedError(slots.failure.problem)
        if self._is_current(slots.active, wanted):
            await self._put(slots.proved(wanted.deployment, order))
            return
        run = _Run(self.name, wanted, on_step)
        try:
            await self._deploy(wanted, order, run)
        except RETRYABLE:
            raise
        except AgentError as error:
            await self._give_up(wanted, error, run)

    async def remove(self) -> None:
        """Stop serving the model: the hub no longer wants it here."""
        await self.server.swap(self.name, None)
        await to_thread.run_sync(self.file.forget)

    async def _deploy(self, wanted: DesiredModel, order: tuple[int, int], run: "_Run") -> None:
        # What is in a slot has passed here once: a start serves it again without asking, with or without a hub.
        await self.trust.check_manifest(self.name, wanted.version, wanted.manifest)
        run.step("fetch")
        await self._check_stored(wanted.manifest)
        await self.fetcher.fetch(wanted.manifest)
        manifest = await to_thread.run_sync(self._manifest, wanted)
        variant = choose_variant(manifest, wanted, targets=self.profile.targets, runtimes=self.profile.runtimes)
        if variant.encrypted:
            self.encryption_key.open(wanted.key, self.name, wanted.version)  # nothing is fetched that can not be read
        run.fetched_bytes = await self._bring(variant, wanted)
        run.step("verify")
        slot = slot_for(variant, wanted, order)
        await self._stage(slot)
        served = await self._load(manifest, variant, wanted)
        with anyio.CancelScope(shield=True):  # from here on the engine belongs to somebody, and both steps are due
            run.step("stage")
            try:
                await self._put(self.file.slots.activated())
            except DiskError:
                served.engine.close()
                raise
            run.step("activate")
            await self.server.swap(self.name, served)
            await self._put(self.file.slots.committed())
            run.step("commit")

    async def _stage(self, slot: Slot) -> None:
        """Note the candidate before it is loaded: a file that ends the whole process is not tried for ever."""
        slots = await self._put(self.file.slots.staged(slot))
        boots = slots.candidate.boots if slots.candidate else 0
        if boots > self.boot_attempts:
            message = f"loading {self.name} version {slot.version}: the agent ended {boots} times while it was tried"
            raise ArtifactError(message)

    async def _bring(self, variant: Variant, wanted: DesiredModel) -> int:
        """Have the variant's file in the store, by a delta or as a whole; return the bytes that travelled for it."""
        ref = variant.travels_as
        await self._check_stored(ref)
        deltas = Deltas(self.name, self.blobs, self.fetcher, self.encryption_key)
        fetched_bytes = await deltas.bring(variant, wanted, self.file.slots)
        if not self.blobs.has(ref.sha256):
            fetched_bytes += ref.size_bytes
            await self.fetcher.fetch(ref)
        return fetched_bytes

    async def _check_stored(self, ref: ArtifactRef) -> None:
        """Hash what is in the store already, as disks do fail; a damaged file is thrown away."""
        if self.blobs.has(ref.sha256):
            try:
                await to_thread.run_sync(self.blobs.check, ref.sha256)
            except ArtifactError as error:
                _log.warning("model %s: %s", self.name, error)

    async def _give_up(self, wanted: DesiredModel, error: AgentError, run: "_Run") -> None:
        """Note the failure, see to it that the active version serves, and tell the hub."""
        problem = error.to_problem()
        with anyio.CancelScope(shield=True):
            slots = await self._put(self.file.slots.failed(wanted.deployment, wanted.version, problem))
            try:
                if slots.active is None:
                    await self.server.swap(self.name, None)
                elif not self._serves(slots.active):
                    await self._serve(slots.active)
                    run.step("roll_back")
            except AgentError as second:
                _log.error("model %s: version %d does not serve either: %s", self.name, wanted.version, second)
            run.step("fail", problem)
        raise DeploymentFailedError(problem) from error

    async def _boot_previous(self, active: Slot, error: AgentError) -> None:
        """Serve the version before; the hub's desired state, if it still asks for `active`, mends or fails that."""
        slots = self.file.slots
        if active.state == "unproven":
            failed = slots.failed(active.deployment, active.version, error.to_problem())
            try:
                if failed.active is not None:
                    await self._serve(failed.active)  # first of all: the disk may be full
            finally:
                await self._put(failed)
            return
        if slots.previous is None:
            raise error
        _log.error("model %s: version %d can not serve: %s", self.name, active.version, error)
        await self._serve(slots.previous)
        await self._put(slots.fell_back())

    async def _serve(self, slot: Slot) -> None:
        await to_thread.run_sync(self.blobs.check, slot.manifest.sha256)
        if slot.encrypted is None:  # else opening it checks each byte
            await to_thread.run_sync(self.blobs.check, slot.sha256)
        wanted = DesiredModel(
            version=slot.version,
            target=slot.target,
            manifest=slot.manifest,
            deployment=slot.deployment,
            key=slot.key,
        )
        manifest = await to_thread.run_sync(self._manifest, wanted)
        variant = choose_variant(manifest, wanted, targets=self.profile.targets, runtimes=self.profile.runtimes)
        served = await self._load(manifest, variant, wanted, is_known=True)
        await self.server.swap(self.name, served)

    async def _put(self, slots: Slots) -> Slots:
        """Make a transition durable in a thread: an fsync on an SD card takes as long as many requests."""
        return await to_thread.run_sync(self.file.put, slots)

    def _manifest(self, wanted: DesiredModel) -> VersionManifest:
        return read_manifest(self.blobs.read(wanted.manifest.sha256, MAX_MANIFEST_BYTES), name=self.name, wanted=wanted)

    async def _load(
        self, manifest: VersionManifest, variant: Variant, wanted: DesiredModel, *, is_known: bool = False
    ) -> ServedModel:
        def load() -> ServedModel:
            with self._readable(variant, wanted, is_known=is_known) as path:
                engine = self.load_engine(path, variant, manifest.inputs, manifest.outputs)
            try:
                run_golden(engine, manifest, variant)
            except AgentError:
                engine.close()
                raise
            return ServedModel(self.name, manifest.version, variant.target, manifest, wanted.manifest.sha256, engine)

        return await to_thread.run_sync(load)

    def _readable(self, variant: Variant, wanted: DesiredModel, *, is_known: bool) -> AbstractContextManager[Path]:
        """Return where a runtime reads the variant's plain file, for as long as the context lasts.

        `is_known` says that a version is in a slot that it can have only by having been loaded from this file before.
        """
        stored = self.blobs.path(variant.travels_as.sha256)
        if variant.encrypted is None:
            return nullcontext(stored)
        version_key = self.encryption_key.open(wanted.key, self.name, wanted.version)
        return plain_file(stored, variant, version_key, is_known=is_known)

    def _serves(self, slot: Slot) -> bool:
        served = self.server.get(self.name)
        return served is not None and (served.version, served.manifest_sha256) == (slot.version, slot.manifest.sha256)

    def _is_current(self, active: Slot | None, wanted: DesiredModel) -> bool:
        return (
            active is not None
            and active.state == "good"
            and (active.version, active.target, active.manifest) == (wanted.version, wanted.target, wanted.manifest)
            and self._serves(active)
        )


class _Run:
    """Tells of the steps of one deployment, with the time since it began."""

    def __init__(self, name: str, wanted: DesiredModel, on_step: OnStep) -> None:
        self._name = name
        self._wanted = wanted
        self._on_step = on_step
        self._started_s = time.monotonic()
        self.fetched_bytes = 0

    def step(self, step: Step, problem: Problem | None = None) -> None:
        event = DeploymentEvent(
            model=self._name,
            version=self._wanted.version,
            deployment=self._wanted.deployment,
            step=step,
            fetched_bytes=self.fetched_bytes,
            duration_s=time.monotonic() - self._started_s,
            problem=problem,
        )
        self._on_step(event)
