"""Reads from earlier benchmarks what operators took on the boards of a target class, by which absent ones are known."""

from dataclasses import dataclass
from typing import Final

from sqlmodel import Session, col, select

from shoal_compression.predictor.operators import FileProfile
from shoal_contract.benchmarks import BenchmarkResult, CandidateMeasured, DesiredBenchmark
from shoal_contract.manifest import TensorSpec
from shoal_hub.benchmarks.tables import Benchmark, BenchmarkDevice
from shoal_hub.compression.tables import SUBJECT, CompressionRun
from shoal_numerics.operator_profile import from_wire

MOST_FILES: Final = 48
"""Of a board, the newest ones: fitting is repeated for each that is left out."""
_MOST_TIMES: Final = 100
"""Of a run without the profiler, that operators may take in sum; a device that tells more tells nonsense."""


@dataclass(frozen=True)
class ProfiledFile:
    """A file that a device has profiled.

    Attributes:
        profile: Named by the file's SHA-256.
        inputs: That it takes.
        model: That it is a version of; empty where that is not known any more.
    """

    profile: FileProfile
    inputs: tuple[TensorSpec, ...]
    model: str


def profiled_files(session: Session, target_class: str, most_results: int) -> dict[str, list[ProfiledFile]]:
    """Return what devices of a class have profiled by board, each file by its newest result.

    Args:
        session: An open transaction.
        target_class: The class.
        most_results: How many results are read, the newest ones.
    """
    found: dict[str, dict[str, ProfiledFile]] = {}
    for benchmark, device_id in _newest(session, target_class, most_results):
        row, asked = session.get_one(BenchmarkDevice, (benchmark, device_id)), session.get_one(Benchmark, benchmark)
        inputs = DesiredBenchmark.model_validate(asked.body).inputs
        run = session.get(CompressionRun, asked.subject.removeprefix(SUBJECT))
        of_board = found.setdefault(row.hardware, {})
        for one in BenchmarkResult.model_validate(row.result).measured:
            profile = _profile(one)
            if profile is not None and len(of_board) < MOST_FILES:
                of_board.setdefault(one.sha256, ProfiledFile(profile, inputs, run.model if run else ""))
    return {board: [*files.values()] for board, files in found.items() if files}


def _newest(session: Session, target_class: str, most: int) -> list[tuple[str, str]]:
    """Return benchmark and device of the newest results of a class."""
    columns = select(BenchmarkDevice.benchmark, BenchmarkDevice.device_id)
    told = columns.where(col(BenchmarkDevice.target_class) == target_class, col(BenchmarkDevice.outcome) == "done")
    order = (col(BenchmarkDevice.ended_at).desc(), col(BenchmarkDevice.device_id))
    return [*session.exec(told.order_by(*order).limit(most)).all()]


def _profile(measured: CandidateMeasured) -> FileProfile | None:
    """Return the profile of a candidate, if there is one that can be."""
    told, spread = measured.operators, measured.latency_ms
    if told is None or spread is None or spread.p50 <= 0:
        return None
    if sum(told.times_us) > _MOST_TIMES * 1000 * spread.p95:
        return None
    return FileProfile(name=measured.sha256, operators=from_wire(told), times_us=told.times_us, latency_ms=spread.p50)
