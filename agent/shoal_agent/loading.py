"""From a stored file to an engine that has passed its self-test, in a thread and within a time."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import NamedTuple, TypeVar

import anyio
from anyio import to_thread

from shoal_agent.blobs import BlobStore
from shoal_agent.encryption_key import EncryptionKey
from shoal_agent.engines import CPU, BeforeUse, CostMeter, EngineError, LoadEngine, load_version, run_golden
from shoal_agent.errors import AgentError
from shoal_agent.plain_file import plain_file
from shoal_agent.serving import ServedModel
from shoal_agent.trust import choose_variant, read_manifest
from shoal_contract.desired import DesiredModel
from shoal_contract.limits import MAX_MANIFEST_BYTES
from shoal_contract.manifest import Variant, VersionManifest
from shoal_contract.reported import Runtime

_log = getLogger(__name__)
Result = TypeVar("Result")


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
        self._is_used = False
        self.has_arrived = False

    def give(self, served: ServedModel) -> ServedModel:
        """Hand an engine over, in its thread; close it if nobody waits any more."""
        with self._lock:
            self._made = served
            if self._has_ended:
                served.engine.close()
        return served

    def use(self, work: Callable[[], Result]) -> Result | None:
        """Do something with the engine, in a thread, unless nobody waits any more; it is not closed meanwhile."""
        with self._lock:
            if self._has_ended:
                return None
            self._is_used = True
        try:
            return work()
        finally:
            with self._lock:
                self._is_used = False
                self._close_if_left()

    def end(self) -> None:
        """Wait no longer; close what was made and has not arrived."""
        with self._lock:
            self._has_ended = True
            self._close_if_left()

    def _close_if_left(self) -> None:
        if self._made is not None and self._has_ended and not self._is_used and not self.has_arrived:
            self._made.engine.close()


@dataclass(frozen=True)
class Loader:
    """Reads, decrypts, loads and tests versions of one model."""

    name: str
    blobs: BlobStore
    profile: Profile
    encryption_key: EncryptionKey
    load_engine: LoadEngine = load_version
    cost_meter: CostMeter | None = None
    """Measures what a version costs as it is loaded for the first time, and what it takes each time; None: nobody
    wants to know."""

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
            timeout_s: For both together; None: no limit. What the version costs is measured after that, outside of it.
            is_known: Whether the version is in a slot that it can have only by having been loaded from this file.

        Raises:
            EngineError: It does not load, answers otherwise than it should, or took too long.
            ArtifactError, DiskError: The file can not be read or decrypted.
        """
        handover = _Handover()

        meter = None if is_known else self.cost_meter

        def load() -> tuple[ServedModel, BeforeUse]:
            served, before = self._load(chosen, wanted, is_known=is_known)
            return handover.give(served), before

        try:
            with anyio.fail_after(timeout_s):
                served, before = await to_thread.run_sync(load, abandon_on_cancel=True)
            if meter is not None:
                served = await _measured(meter, served, chosen, before, handover)
            handover.has_arrived = True
        except TimeoutError as error:
            message = f"loading {self.name} version {wanted.version}: not done after {timeout_s:g} s"
            remedy = "allow more time (activate_timeout_s), or give the device a smaller version"
            raise EngineError(message, remedy) from error
        finally:
            handover.end()
        return served

    def _load(self, chosen: Chosen, wanted: DesiredModel, *, is_known: bool) -> tuple[ServedModel, BeforeUse]:
        manifest, variant = chosen
        scale = self.cost_meter
        before_bytes = scale.held_bytes() if scale is not None else 0
        with self._readable(variant, wanted, is_known=is_known) as path:
            engine = self.load_engine(path, manifest, variant)
        started_s, busy_since_s = time.perf_counter(), time.thread_time()
        try:
            run_golden(engine, manifest, variant)
        except AgentError:
            engine.close()
            raise
        before, busy_s = BeforeUse(before_bytes, time.perf_counter() - started_s), time.thread_time() - busy_since_s
        weighed_bytes = _weighed(scale, before_bytes) if scale is not None else None
        sha256 = wanted.manifest.sha256
        served = ServedModel(self.name, manifest.version, variant.target, manifest, sha256, engine)
        # Others use the processor as well in a swap; an accelerator's time is none of this thread's.
        self_test_s = busy_s if engine.setup.accelerator == CPU else before.self_test_s
        return replace(served, weighed_bytes=weighed_bytes, self_test_s=self_test_s), before

    def _manifest(self, wanted: DesiredModel) -> VersionManifest:
        return read_manifest(self.blobs.read(wanted.manifest.sha256, MAX_MANIFEST_BYTES), name=self.name, wanted=wanted)

    def _readable(self, variant: Variant, wanted: DesiredModel, *, is_known: bool) -> AbstractContextManager[Path]:
        """Return where a runtime reads the variant's plain file, for as long as the context lasts."""
        stored = self.blobs.path(variant.travels_as.sha256)
        if variant.encrypted is None:
            return nullcontext(stored)
        version_key = self.encryption_key.open(wanted.key, self.name, wanted.version)
        return plain_file(stored, variant, version_key, is_known=is_known)


def _weighed(scale: CostMeter, before_bytes: int) -> int | None:
    """Return what a load has added to the process. That it can not be read is no reason not to serve."""
    try:
        return max(0, scale.held_bytes() - before_bytes)
    except EngineError as error:
        _log.warning("weighing a model: %s", error)
        return None


async def _measured(
    meter: CostMeter, served: ServedModel, chosen: Chosen, before: BeforeUse, handover: _Handover
) -> ServedModel:
    """Add what a loaded version costs. That it can not be measured is no reason not to serve it."""
    manifest, variant = chosen
    started_s, cost, problem = time.monotonic(), None, f"not done after {meter.patience_s:g} s"
    work = partial(meter.measure, served.engine, manifest, variant, before)
    with anyio.move_on_after(meter.patience_s):
        try:
            cost = await to_thread.run_sync(handover.use, work, abandon_on_cancel=True)
        except EngineError as error:
            problem = str(error)
    if cost is None:
        _log.warning("measuring %s version %d (%s): %s", manifest.model, manifest.version, variant.target, problem)
    return replace(served, cost=cost, measured_s=time.monotonic() - started_s)
