"""One loaded engine a file for all simulated devices of a process; each still runs its own self-test on it."""

import random
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from shoal_agent.engines import Array, Engine, EngineError, EngineSetup, load_version
from shoal_contract.manifest import TensorSpec, Variant, VersionManifest


class SharedEngines:
    """The engines of one process, by the hash of their file; methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: dict[str, tuple[Engine, int]] = {}

    def load(self, path: Path, manifest: VersionManifest, variant: Variant) -> Engine:
        """Return an engine of a variant's file, loaded if no other device has it; see `load_version`."""
        with self._lock:
            engine, users = self._engines.get(variant.sha256) or (load_version(path, manifest, variant), 0)
            self._engines[variant.sha256] = engine, users + 1
        return _Share(engine, lambda: self._release(variant.sha256))

    def _release(self, sha256: str) -> None:
        with self._lock:
            engine, users = self._engines.pop(sha256)
            if users > 1:
                self._engines[sha256] = engine, users - 1
        if users == 1:
            engine.close()


class _Share:
    """One device's share of an engine."""

    def __init__(self, engine: Engine, release: Callable[[], None]) -> None:
        self._engine = engine
        self._release: Callable[[], None] | None = release

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, as the manifest names them."""
        return self._engine.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs, as the manifest names them."""
        return self._engine.outputs

    @property
    def is_in_use(self) -> bool:
        """Whether another thread runs it."""
        return self._engine.is_in_use

    @property
    def setup(self) -> EngineSetup:
        """How it runs here."""
        return self._engine.setup

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once; see `Engine`."""
        return self._engine.infer(inputs)

    def close(self) -> None:
        """Give this share up. Closing twice does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()


class DeviceEngines:
    """Loads engines for one device, on which some versions do not run.

    Args:
        shared: The engines of the process.
        fails: Whether a variant, by its file's hash, can not run on this device.
    """

    def __init__(self, shared: SharedEngines, fails: Callable[[str], bool]) -> None:
        self._shared = shared
        self._fails = fails

    def load(self, path: Path, manifest: VersionManifest, variant: Variant) -> Engine:
        """Load an engine. One that fails here does not load, or gives wrong answers, by its hash.

        Raises:
            EngineError: It does not load.
        """
        if not self._fails(variant.sha256):
            return self._shared.load(path, manifest, variant)
        if random.Random(variant.sha256).random() < 0.5:  # noqa: S311, PLR2004 - one half of the files
            raise EngineError(f"loading variant {variant.target}: the simulated device can not run it")
        return _Wrong(self._shared.load(path, manifest, variant))


class _Wrong:
    """An engine whose answers are no longer those of its maker."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.inputs, self.outputs, self.setup = engine.inputs, engine.outputs, engine.setup
        self.close = engine.close

    @property
    def is_in_use(self) -> bool:
        """Whether another thread runs it."""
        return self._engine.is_in_use

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once, and turn each output round."""
        answers = self._engine.infer(inputs)
        return {name: np.ascontiguousarray(1 - answer) for name, answer in answers.items()}
