"""Benchmarks that the hub hands out: files of models are run on a device while it is idle, beside what it serves.

Section `benchmarks/<name>` of the desired state. What a file is worth is a property of the device: the same int8 model
is slower, or less accurate, on one processor than on another.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_contract.ids import Name, Sha256
from shoal_contract.limits import MAX_HTTPS_ARTIFACT_BYTES
from shoal_contract.manifest import TensorSpec
from shoal_contract.operator_profile import OperatorProfile
from shoal_contract.reported import Problem, Runtime
from shoal_contract.wire import Count, Ordinal, UtcTime, WireValue

MAX_BENCHMARKS: Final = 4
"""That a device is asked for at a time."""
MAX_CANDIDATES: Final = 16
"""Of one benchmark."""
MAX_RUNS: Final = 10_000
MAX_MILLISECONDS: Final = 1e7
MAX_POWER: Final = 1e300
"""Of a sum of squares; what is more, or not finite, is told as this."""
LABELS: Final = "labels"
"""Name of the samples' classes in the file of samples, (n,) int64; the inputs are `inputs/<name>`, (n, …)."""
INPUT_PREFIX: Final = "inputs/"
BenchmarkOutcome = Literal["done", "failed", "expired"]
_Milliseconds = Annotated[float, Field(ge=0, le=MAX_MILLISECONDS)]
_Power = Annotated[float, Field(ge=0, le=MAX_POWER)]
_Load = Annotated[float, Field(ge=0, le=1e6)]


class BenchmarkCandidate(WireValue):
    """One file to measure."""

    name: Name
    runtime: Runtime
    sha256: Sha256
    size_bytes: int = Field(ge=1, le=MAX_HTTPS_ARTIFACT_BYTES)


class DesiredBenchmark(WireValue):
    """Section `benchmarks/<name>`. The first candidate is what the others' answers are compared with."""

    inputs: tuple[TensorSpec, ...] = Field(min_length=1, max_length=16)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1, max_length=16)
    candidates: tuple[BenchmarkCandidate, ...] = Field(min_length=1, max_length=MAX_CANDIDATES)
    samples_sha256: Sha256
    """Of a safetensors file: arrays `inputs/<name>` (n, …) as requests hold them, and `labels` where they are known."""
    samples_bytes: int = Field(ge=1, le=MAX_HTTPS_ARTIFACT_BYTES)
    runs: int = Field(default=50, ge=3, le=MAX_RUNS)
    """Timed runs of one sample."""
    warm_up_runs: int = Field(default=5, ge=0, le=1000)
    """Before them, untimed."""
    threads: int = Field(default=1, ge=1, le=64)
    """Each on a core of its own, to which the process is pinned."""
    max_load: float | None = Field(default=0.1, ge=0, le=64)
    """Share of the time that the agent may spend on requests before the benchmark rests; None: it never does."""
    max_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """That the process of one candidate may take, rests aside."""
    deadline_at: UtcTime

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if len({one.name for one in self.candidates}) != len(self.candidates):
            msg = "two candidates have one name"
            raise ValueError(msg)
        return self


class LatencySpread(WireValue):
    """Times of a run of one sample, milliseconds: quartiles, and the 95th percentile."""

    p25: _Milliseconds
    p50: _Milliseconds
    p75: _Milliseconds
    p95: _Milliseconds
    runs: int = Field(ge=1, le=MAX_RUNS)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if any(lower > upper for lower, upper in pairwise((self.p25, self.p50, self.p75, self.p95))):
            msg = f"{self.p25}, {self.p50}, {self.p75}, {self.p95} found, percentiles in rising order expected"
            raise ValueError(msg)
        return self


class Paired(WireValue):
    """A candidate beside the first one, on the samples that both have answered on this device: the first of all."""

    samples: Ordinal
    right: Count | None = None
    """Of those, how many have their label's class; None: the samples have none."""
    first_right: Count | None = None
    """The same of the first candidate."""
    signal: _Power | None = None
    """Sum of the squares of the first candidate's outputs, of as many of these samples as have room."""
    noise: _Power | None = None
    """Sum of the squares of the differences from them."""

    @model_validator(mode="after")
    def _check_sums(self) -> Self:
        if (self.right is None) != (self.first_right is None) or (self.signal is None) != (self.noise is None):
            msg = "one of two figures found that belong together"
            raise ValueError(msg)
        if max(self.right or 0, self.first_right or 0) > self.samples:
            msg = f"{self.right} and {self.first_right} right found of {self.samples} samples"
            raise ValueError(msg)
        return self


class CandidateMeasured(WireValue):
    """What a device has measured of one candidate."""

    name: Name
    sha256: Sha256
    latency_ms: LatencySpread | None = None
    """None: it could not be run, see `problem`."""
    load_ms: _Milliseconds = 0.0
    """Until the file was loaded."""
    memory_bytes: Count = 0
    """What the process had grown by when the file had been loaded and run."""
    samples: Count = 0
    """That it answered."""
    agreed: Count | None = None
    """Of those that the first candidate has answered too, how many have its class.

    None: it could not be run here; older agents tell 0 then.
    """
    right: Count | None = None
    """Of all that it answered, how many have their label's; None: the samples have none."""
    paired: Paired | None = None
    """Beside the first candidate; None: it could not be run here, or an older agent."""
    disturbed: Count = 0
    """Runs that were thrown away, as the agent had requests to answer meanwhile."""
    hottest_c: float | None = Field(default=None, ge=-100, le=300)
    """Of the processor's hottest part, after the runs."""
    is_throttled: bool = False
    """Whether the board slowed itself down, before or after."""
    load_before: _Load | None = None
    """Processes of the whole machine that ran or waited to, over the minute before; others than the agent count too."""
    load_after: _Load | None = None
    """The same after the runs, which count themselves."""
    problem: Problem | None = None
    operators: OperatorProfile | None = None
    """What each operator took, by runs after the timed ones; None: see `operators_problem`, or an older agent."""
    operators_problem: Annotated[str, Field(max_length=300)] | None = None
    """Why there are none, though the file was measured."""

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if max(self.agreed or 0, self.right or 0) > self.samples:
            msg = f"{self.agreed} agreed and {self.right} right found of {self.samples} samples"
            raise ValueError(msg)
        if self.paired is not None and not (self.agreed or 0) <= self.paired.samples <= self.samples:
            compared = self.paired.samples
            msg = f"{self.agreed} agreed of {compared} samples beside the first found, of {self.samples} in all"
            raise ValueError(msg)
        if (self.latency_ms is None) == (self.problem is None):
            msg = "a candidate is either measured or has a problem"
            raise ValueError(msg)
        if self.operators is not None and self.latency_ms is None:
            msg = "operators of a candidate found that was not measured"
            raise ValueError(msg)
        return self


class BenchmarkResult(WireValue):
    """How a benchmark ended on a device."""

    kind: Literal["benchmark_result"] = "benchmark_result"
    benchmark: Name
    outcome: BenchmarkOutcome
    measured: tuple[CandidateMeasured, ...] = Field(default=(), max_length=MAX_CANDIDATES)
    """In the order in which they were asked for; one that fails costs the others nothing."""
    runtimes: dict[Runtime, Annotated[str, Field(max_length=64)]] = Field(default_factory=dict, max_length=4)
    """Versions of the runtimes that were used."""
    cores: tuple[Count, ...] = Field(default=(), max_length=64)
    """To which the process was pinned; none where the system does not pin."""
    duration_s: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    problem: Problem | None = None


def misfit(result: BenchmarkResult, files: Mapping[str, str], samples: int) -> str:
    """Return why a result is none of a benchmark's, or nothing if it is.

    Args:
        result: As a device sent it.
        files: Hashes of the candidates that were asked for, by name.
        samples: How many were sent.
    """
    names = [one.name for one in result.measured]
    if len(set(names)) != len(names):
        return "a candidate is told of twice"
    for one in result.measured:
        if files.get(one.name) != one.sha256:
            return f"{one.name} with the hash {one.sha256[:12]} was not asked for"
        if one.samples > samples:
            return f"{one.name} answered {one.samples} samples, {samples} were sent"
    return "" if result.outcome != "done" or len(names) == len(files) else "it is done without all candidates"
