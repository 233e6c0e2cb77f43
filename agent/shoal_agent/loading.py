"""From a stored file to an engine that has passed its self-test, in a thread and within a time."""

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio import to_thread

from shoal_agent.blobs import BlobStore
from shoal_agent.encryption_key import EncryptionKey
from shoal_agent.engines import CostMeter, Engine, EngineError, LoadEngine, load_engine, run_golden
from shoal_agent.errors import AgentError
from shoal_agent.plain_file import plain_file
from shoal_agent.serving import ServedModel
from shoal_agent.trust import choose_variant, read_manifest
from shoal_contract.desired import DesiredModel
from shoal_contract.limits import MAX_MANIFEST_BYTES
from shoal_contract.manifest import Variant, VersionManifest
from shoal_contract.reported import Runtime
from shoal_contract.telemetry import VersionCost

_log = getLogger(__name__)


class Profile(NamedTuple):
    """What this device can run."""

    targets: tuple[str, ...]
    runtimes: tuple[Runtime, ...]


class Chosen(NamedTuple):
    """The variant of a version that this device runs."""

    manifest: VersionManifest
    variant: Variant


class _Handover:
    """An engine on its way from the thread that made it to whoever waits, and may have gone meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: ServedModel | None = None
        self._has_ended = False
        self.has_arrived = False

    def give(self, served: ServedModel) -> ServedModel:
        """Hand an engine over, in its thread; close it if nobody waits any more."""
        with self._lock:
            self._made = served
            if self._has_ended:
                served.engine.close()
        return served

    def end(self) -> None:
        """Wait no longer; close what was made and has not arrived."""
        with self._lock:
            self._has_ended = True
            if self._made is not None and not self.has_arrived:
                self._made.engine.close()


@dataclass(frozen=True)
class Loader:
    """Reads, decrypts, loads and tests versions of one model."""

    name: str
    blobs: BlobStore
    profile: Profile
    encryption_key: EncryptionKey
    load_engine: LoadEngine = load_engine
    cost_meter: CostMeter | None = None
    """Measures what a version costs as it is loaded for the first time; None: nobody wants to know."""

    async def choose(self, wanted: DesiredModel) -> Chosen:
        """Read a stored manifest and choose the variant that the hub asks for.

        Raises:
            ArtifactError: The manifest is another's, or has no variant that this device can run.
        """
        manifest = await self.blobs.work(self._manifest, wanted)
        profile = self.profile
        return Chosen(manifest, choose_variant(manifest, wanted, targets=profile.targets, runtimes=profile.runtimes))

    async def load(
        self, chosen: Chosen, wanted: DesiredModel, *, timeout_s: float | None = None, is_known: bool = False
    ) -> ServedModel:
        """Load a variant's file and test it on its golden inputs.

        A runtime can not be interrupted: where it takes too long it is left to itself, and what it makes in the end
        is closed.

        Args:
            chosen: From `choose`.
            wanted: Carries the version's key, where it is encrypted.
            timeout_s: For both together; None: no limit.
            is_known: Whether the version is in a slot that it can have only by having been loaded from this file.

        Raises:
            EngineError: It does not load, answers otherwise than it should, or took too long.
            ArtifactError, DiskError: The file can not be read or decrypted.
        """
        handover = _Handover()

        def load() -> ServedModel:
            return handover.give(self._load(chosen, wanted, is_known=is_known))

        try:
            with anyio.fail_after(timeout_s):
                served = await to_thread.run_sync(load, abandon_on_cancel=True)
            handover.has_arrived = True
        except TimeoutError as error:
            message = f"loading {self.name} version {wanted.version}: not done after {timeout_s:g} s"
            remedy = "allow more time (activate_timeout_s), or give the device a smaller version"
            raise EngineError(message, remedy) from error
        finally:
            handover.end()
        return served

    def _load(self, chosen: Chosen, wanted: DesiredModel, *, is_known: bool) -> ServedModel:
        manifest, variant = chosen
        meter = None if is_known else self.cost_meter
        before_bytes = meter.held_bytes() if meter is not None else 0
        with self._readable(variant, wanted, is_known=is_known) as path:
            engine = self.load_engine(path, variant, manifest.inputs, manifest.outputs)
        try:
            run_golden(engine, manifest, variant)
        except AgentError:
            engine.close()
            raise
        cost = _measured(meter, engine, chosen, before_bytes) if meter is not None else None
        return ServedModel(self.name, manifest.version, variant.target, manifest, wanted.manifest.sha256, engine, cost)

    def _manifest(self, wanted: DesiredModel) -> VersionManifest:
        return read_manifest(self.blobs.read(wanted.manifest.sha256, MAX_MANIFEST_BYTES), name=self.name, wanted=wanted)

    def _readable(self, variant: Variant, wanted: DesiredModel, *, is_known: bool) -> AbstractContextManager[Path]:
        """Return where a runtime reads the variant's plain file, for as long as the context lasts."""
        stored = self.blobs.path(variant.travels_as.sha256)
        if variant.encrypted is None:
            return nullcontext(stored)
        version_key = self.encryption_key.open(wanted.key, self.name, wanted.version)
        return plain_file(stored, variant, version_key, is_known=is_known)


def _measured(meter: CostMeter, engine: Engine, chosen: Chosen, before_bytes: int) -> VersionCost | None:
    """Return what a loaded version costs. That it can not be measured is no reason not to serve it."""
    manifest, variant = chosen
    try:
        return meter.measure(engine, manifest, variant, before_bytes)
    except EngineError as error:
        _log.warning("measuring %s version %d (%s): %s", manifest.model, manifest.version, variant.target, error)
        return None
