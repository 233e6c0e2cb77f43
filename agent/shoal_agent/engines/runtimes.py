"""The runtimes of this device: which of them work here, and how a version is loaded with the best of what they offer.

Accelerators are tried best first. One that does not load, or does not answer the golden input as the manifest says, is
passed over for the next, and so a version runs wherever the CPU can run it. What was chosen is remembered.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

from shoal_agent.engines.engine import CPU, Engine, EngineError, EngineSetup
from shoal_agent.engines.engine_cache import EngineCache
from shoal_agent.engines.golden import golden_inputs, run_golden
from shoal_agent.engines.load import Broken, check_loadable
from shoal_agent.engines.onnx_options import GpuBounds, OnnxOptions
from shoal_agent.engines.onnx_session import built_providers
from shoal_agent.engines.provider_order import litert_accelerators, onnx_accelerators
from shoal_agent.engines.remembered import RememberedSetups
from shoal_agent.engines.runtime_check import Ended, RuntimeCheck, build_of, try_in_child, version_of
from shoal_agent.engines.warmup import Instruments, Warmup, WarmupBounds
from shoal_agent.hardware import available_runtimes, fingerprint, has_gpu, module_of
from shoal_agent.settings import EngineSettings
from shoal_contract.manifest import Variant, VersionManifest
from shoal_contract.reported import Hardware, Runtime

_log = getLogger(__name__)
_MOST_SAID_CHARS = 300


class _File(NamedTuple):
    path: Path
    manifest: VersionManifest
    variant: Variant


class _Build(NamedTuple):
    """An installed runtime: its version, and what tells it from other builds."""

    version: str
    said: str


@dataclass(frozen=True)
class Machine:
    """What there is to run on; a test gives a machine of its own.

    Attributes:
        hardware: The board.
        has_gpu: Whether it shows a GPU.
        providers: Asked for what ONNX Runtime was built with.
        make_session: Opens a session of ONNX Runtime; None: its own class does.
        try_runtime: Tries a runtime in a child.
        instruments: What a warm-up reads.
    """

    hardware: Hardware
    has_gpu: bool = field(default_factory=has_gpu)
    providers: Callable[[], Collection[str]] = built_providers
    make_session: Callable[..., Any] | None = None
    try_runtime: Callable[[str, float], Ended] = try_in_child
    instruments: Instruments = field(default_factory=Instruments)


class Runtimes:
    """Loads versions with the runtimes of this device; `load` may be called from several threads at once.

    Making one checks the runtimes that are new to this board, which takes seconds then, and nothing later.

    Args:
        settings: What runtimes may use, and bounds.
        data: The agent's data folder.
        machine: What there is to run on.
    """

    def __init__(self, settings: EngineSettings, data: Path, machine: Machine) -> None:
        self._settings = settings
        self._machine = machine
        self._board = fingerprint(machine.hardware)
        check = RuntimeCheck(data / "run" / "runtimes.json", self._board, settings.check_s, machine.try_runtime)
        self.broken: Broken = check.broken()
        self._remembered = RememberedSetups(warmup_file(data))
        self._builds: dict[str, _Build] = {}
        fits = f"{self._board} {self._build('onnxruntime').said}"
        self._cache = EngineCache(data / "engine-cache", fits, settings.engine_cache_bytes)

    def usable(self) -> tuple[Runtime, ...]:
        """Return the runtimes that are installed and work here."""
        return available_runtimes(self.broken)

    def load(self, path: Path, manifest: VersionManifest, variant: Variant) -> Engine:
        """Load the file of a version's variant as it runs best here, and check that it is what the manifest says.

        Raises:
            EngineError: Its runtime is not installed or does not work here, or nothing that may be used can run it.
        """
        check_loadable(path, variant, self.broken)
        file = _File(path, manifest, variant)
        fits = self._fits(variant.runtime)
        engine = self._as_before(file, fits)
        if engine is None:
            engine = self._first_that_works(file)
            self._remembered.put(variant.sha256, fits, engine.setup)
            self._cache.prune()
        _log.info("%s version %d runs in %s", manifest.model, manifest.version, engine.setup.said())
        return engine

    def _as_before(self, file: _File, fits: str) -> Engine | None:
        """Return the model as it was set up before; None where it was not, or that works no longer."""
        remembered = self._remembered.get(file.variant.sha256, fits)
        if remembered is None:
            return None
        try:
            return self._tested(file, remembered)
        except EngineError as error:
            _log.warning("%s; a setting is chosen anew", error)
            return None

    def _first_that_works(self, file: _File) -> Engine:
        variant, passed_over = file.variant, list[str]()
        accelerators = self._accelerators(variant.runtime)
        module = module_of(variant.runtime, self.broken) or ""
        for accelerator in accelerators:
            setup = EngineSetup(module, self._build(module).version, accelerator)
            try:
                if accelerator == CPU:
                    setup = self._warmed_up(file, setup)
                return self._tested(file, replace(setup, passed_over=tuple(passed_over)))
            except EngineError as error:
                if accelerator == accelerators[-1]:
                    raise
                passed_over.append(f"{accelerator}: {error}"[:_MOST_SAID_CHARS])
                _log.warning("%s is passed over for the next: %s", accelerator, error)
        msg = f"loading variant {variant.target}: the settings leave out all execution providers"
        raise EngineError(msg, "correct the agent's --provider and --without-provider")

    def _accelerators(self, runtime: Runtime) -> tuple[str, ...]:
        if runtime == "litert":
            return litert_accelerators(self._settings)
        machine = self._machine
        return onnx_accelerators(machine.providers(), self._settings, has_gpu=machine.has_gpu)

    def _fits(self, runtime: Runtime) -> str:
        module = module_of(runtime, self.broken) or ""
        return f"{self._build(module).said} on {self._board}, a GPU: {self._machine.has_gpu}, {self._settings}"

    def _build(self, module: str) -> _Build:
        """Return what is installed, as it was when it was first asked for: what is imported by now is that."""
        known = self._builds.get(module)
        if known is None:
            known = self._builds[module] = _Build(version_of(module), build_of(module))
        return known

    def _tested(self, file: _File, setup: EngineSetup) -> Engine:
        """Load a file with a setting; on an accelerator it must answer the golden input as on the CPU."""
        engine = self._open(file, setup)
        if setup.accelerator != CPU:
            try:
                run_golden(engine, file.manifest, file.variant)
            except EngineError:
                engine.close()
                raise
        return engine

    def _warmed_up(self, file: _File, one_thread: EngineSetup) -> EngineSetup:
        """Measure a file on the CPU."""
        settings, cores = self._settings, self._machine.hardware.cores
        bounds = WarmupBounds(
            settings.warmup_s,
            min(settings.most_threads or cores, cores),
            settings.least_gain_ratio,
            settings.most_cpu_ratio,
            settings.arena_bytes,
        )
        golden = golden_inputs(file.manifest)
        warmup = Warmup(partial(self._open, file), golden, bounds, self._machine.instruments)
        has_arena = file.variant.runtime == "onnxruntime"
        return warmup.choose(one_thread, can_have_arena=has_arena, is_batched=file.manifest.is_batched)

    def _open(self, file: _File, setup: EngineSetup) -> Engine:
        path, (inputs, outputs) = file.path, (file.manifest.inputs, file.manifest.outputs)
        if file.variant.runtime == "litert":
            from shoal_agent.engines.litert_engine import LiteRtEngine

            return LiteRtEngine(path, inputs, outputs, setup)
        from shoal_agent.engines.onnx_engine import OnnxEngine

        options = OnnxOptions(setup, self._gpu_bounds(file.variant, setup), self._machine.make_session)
        return OnnxEngine(path, inputs, outputs, options)

    def _gpu_bounds(self, variant: Variant, setup: EngineSetup) -> GpuBounds:
        settings = self._settings
        # TensorRT's engines hold the weights, and what is encrypted never lies on a disk as it is.
        is_kept = setup.accelerator == "tensorrt" and variant.encrypted is None
        return GpuBounds(
            memory_bytes=settings.gpu_memory_bytes or self._machine.hardware.memory_bytes // 3,
            workspace_bytes=settings.gpu_workspace_bytes,
            cache=self._cache.folder_for(variant.sha256) if is_kept else None,
            precision=variant.precision,
        )


def warmup_file(data: Path) -> Path:
    """Return where settings are remembered in a data folder."""
    return data / "run" / "warmup.json"
