"""What the daemon and the process that measures one candidate say to each other: a JSON file in, one out."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shoal_contract.benchmarks import BenchmarkCandidate, DesiredBenchmark, LatencySpread, Paired
from shoal_contract.operator_profile import OperatorProfile
from shoal_contract.wire import Count


class MeasuringJob(BaseModel):
    """What the process shall do. Paths are the daemon's own, never from the network."""

    model_config = ConfigDict(frozen=True)

    data: Path
    """The agent's folder, by which it is asked how busy it is."""
    wanted: DesiredBenchmark
    candidate: BenchmarkCandidate
    file: Path
    samples: Path
    reference: Path
    """The first candidate's answers, `.npz`: written by the first, read by the others."""
    is_first: bool
    result: Path
    max_memory_bytes: int
    """Of address space."""
    max_data_bytes: int | None
    """Of memory that is its own; None: the board does not tell how much it has."""
    max_sample_bytes: int
    nice: int

    @property
    def most_bytes(self) -> int:
        """Return the lower of both bounds of memory."""
        return self.max_memory_bytes if self.max_data_bytes is None else min(self.max_memory_bytes, self.max_data_bytes)


class Measured(BaseModel):
    """What the process has measured."""

    model_config = ConfigDict(frozen=True)

    latency_ms: LatencySpread | None = None
    load_ms: float = 0.0
    memory_bytes: Count = 0
    samples: Count = 0
    agreed: Count | None = None
    right: Count | None = None
    paired: Paired | None = None
    disturbed: Count = 0
    cores: tuple[int, ...] = ()
    runtime_version: str = ""
    operators: OperatorProfile | None = None
    operators_problem: str | None = None
    error: str = ""
    """Why it was not measured; empty when it was."""
    remedy: str = ""
