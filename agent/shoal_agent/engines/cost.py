"""What a version costs on this device, measured as it is loaded: the memory that it took, and the time of a request.

The hub predicts by it what the version costs on other devices of the same hardware.
"""

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

from shoal_agent.engines.engine import Engine
from shoal_agent.engines.golden import golden_inputs
from shoal_contract.manifest import Variant, VersionManifest
from shoal_contract.telemetry import VersionCost
from shoal_numerics.tensors import Array

_MAX_RUNS: Final = 21
"""An odd number: its median is one of the times."""


def release_free_memory() -> None:
    """Give what the C library holds in reserve back to the kernel, where it can: else a load would grow nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


class BeforeUse(NamedTuple):
    """What was noted as a version was loaded and tested."""

    held_bytes: int
    """By `CostMeter.held_bytes`, before it was loaded."""
    self_test_s: float


@dataclass(frozen=True)
class CostMeter:
    """Measures what versions cost while the agent loads and tests them.

    The whole process is measured: what else it takes or frees meanwhile is in the figure, so that the hub goes by the
    median of many devices.

    Attributes:
        resident_bytes: What this process has in memory.
        release: Called before each reading.
        clock_s: Seconds that never go back.
        most_s: After how long no further run is timed. A model that took longer for a self-test on the same input is
            not run again.
        patience_s: After how long a run that does not end is left to itself.
    """

    resident_bytes: Callable[[], int]
    release: Callable[[], None] = release_free_memory
    clock_s: Callable[[], float] = time.perf_counter
    most_s: float = 1.0
    patience_s: float = 60.0

    def held_bytes(self) -> int:
        """Return what the process has in memory now, without what it could give back."""
        self.release()
        return self.resident_bytes()

    def measure(self, engine: Engine, manifest: VersionManifest, variant: Variant, before: BeforeUse) -> VersionCost:
        """Time a loaded model that has passed its self-test, and see what it has added to the process.

        Args:
            engine: The loaded model; its self-test has warmed it up.
            manifest: Names the golden input.
            variant: What was loaded.
            before: What was noted as it was loaded and tested.

        Raises:
            EngineError: The runtime failed on a single sample.
        """
        request, is_golden = _one_request(engine, manifest)
        is_slow = is_golden and before.self_test_s > self.most_s
        times_s = [before.self_test_s] if is_slow else self._time(engine, request)
        return VersionCost(
            sha256=variant.sha256,
            latency_p50_ms=median(times_s) * 1000,
            runs=len(times_s),
            memory_bytes=max(0, self.held_bytes() - before.held_bytes),
        )

    def _time(self, engine: Engine, request: Mapping[str, Array]) -> list[float]:
        """Return the seconds of each run; the first, of another shape than the self-test's, counts only if alone."""
        times_s: list[float] = []
        while not times_s or (len(times_s) <= _MAX_RUNS and sum(times_s) < self.most_s):
            started_s = self.clock_s()
            engine.infer(request)
            times_s.append(max(0.0, self.clock_s() - started_s))
        return times_s[1:] or times_s


def _one_request(engine: Engine, manifest: VersionManifest) -> tuple[dict[str, Array], bool]:
    """Return the golden input's first sample, as compression times one, or all of it for a batch of a fixed size.

    Returns:
        The request, and whether it is what the self-test ran.
    """
    golden = golden_inputs(manifest)
    is_any_size = manifest.is_batched and all(spec.shape and spec.shape[0] == -1 for spec in engine.inputs)
    one = {name: array[:1].copy() if is_any_size and len(array) else array for name, array in golden.items()}
    return one, all(one[name].shape == array.shape for name, array in golden.items())
