"""What there is to choose by for each target class of a run: files, measurements, or profiles in their place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlmodel import Session, col, select

from shoal_compression.measures import Measures
from shoal_compression.search.candidates import SOURCE
from shoal_contract.benchmarks import BenchmarkResult
from shoal_hub.benchmarks.device_classes import class_devices
from shoal_hub.benchmarks.offer import devices_of
from shoal_hub.benchmarks.tables import Benchmark
from shoal_hub.compression.described import Describer
from shoal_hub.compression.figures import Choice, MadeFile, base_of, choose_for
from shoal_hub.compression.predictions import PREDICTED_RUNTIME, ClassPredictions, predict
from shoal_hub.compression.profiles import ProfiledFile, profiled_files
from shoal_hub.compression.request import CompressionRequest
from shoal_hub.compression.tables import CompressionResult, CompressionRun
from shoal_numerics.tensors import Array

DEFAULT_CLASS: Final = "generic"
"""What is chosen for where no device says what it is."""
_RUNTIMES: Final = frozenset({"onnxruntime", "litert"})


@dataclass(frozen=True)
class Evidence:
    """Of one target class.

    Attributes:
        target_class: The class.
        model: What the run compresses.
        files: What could be chosen, the source first.
        others: Why other files of the run could not.
        results: What devices have measured in this run, by board.
        profiled: What devices have profiled in earlier ones, by board; read where there are no results.
    """

    target_class: str
    model: str
    files: tuple[MadeFile, ...]
    others: Mapping[str, str]
    results: Mapping[str, Sequence[BenchmarkResult]]
    profiled: Mapping[str, Sequence[ProfiledFile]]


def read_evidence(session: Session, row: CompressionRun, most_results: int) -> list[Evidence]:
    """Return what there is to choose by for each target class; profiles are those of the newest results of a class."""
    request = CompressionRequest.model_validate(row.request)
    files, fleet = made_files(session, row), class_devices(session)
    found = []
    for name in sorted(set(request.targets) or {one.target_class for one in fleet} or {DEFAULT_CLASS}):
        of_class = [one for one in fleet if one.target_class == name]
        runtimes = {runtime for one in of_class for runtime in one.runtimes} or _RUNTIMES
        results = _results(session, row, name)
        found.append(
            Evidence(
                target_class=name,
                model=row.model,
                files=tuple(one for one in files if one.runtime in runtimes),
                others={
                    one.name: f"{one.runtime} is on none of its devices" for one in files if one.runtime not in runtimes
                },
                results=results,
                profiled={} if results else profiled_files(session, name, most_results),
            )
        )
    return found


def make_choices(
    evidence: Sequence[Evidence], request: CompressionRequest, feeds: Mapping[str, Array], describer: Describer
) -> list[Choice]:
    """Return the choice for each target class.

    Args:
        evidence: What there is to choose by.
        request: What the choice has to keep.
        feeds: One request of the model.
        describer: Finds operators, where latency is predicted.
    """
    return [_choice(one, request, _predictions(one, feeds, describer)) for one in evidence]


def _predictions(one: Evidence, feeds: Mapping[str, Array], describer: Describer) -> ClassPredictions | None:
    if not one.profiled:
        return None
    files = {file.name: file.sha256 for file in one.files if file.runtime == PREDICTED_RUNTIME}
    return predict(one.model, files, feeds, one.profiled, describer)


def _choice(one: Evidence, request: CompressionRequest, predictions: ClassPredictions | None) -> Choice:
    base = base_of(one.target_class, one.model, one.files, one.results, predictions)
    made = choose_for(base, request.constraints, request.prefer)
    return made.model_copy(update={"left_out": {**made.left_out, **one.others}})


def made_files(session: Session, row: CompressionRun) -> list[MadeFile]:
    """Return what could be chosen, the source first."""
    rows = session.exec(
        select(CompressionResult).where(CompressionResult.run == row.id).order_by(col(CompressionResult.name))
    )
    files = [
        MadeFile(
            name=one.name,
            recipe_sha256=one.recipe_sha256,
            sha256=one.sha256,
            runtime=one.runtime,
            here=Measures.model_validate(one.report["variant"]),
            drop_points=_drop(one.report["verdict"]),
        )
        for one in rows
    ]
    if row.source is None:
        return files
    here = Measures.model_validate(row.source["measures"])
    sha256, runtime = row.source["sha256"], row.source["runtime"]
    return [
        MadeFile(name=SOURCE, recipe_sha256=sha256, sha256=sha256, runtime=runtime, here=here, drop_points=0.0),
        *files,
    ]


def _drop(verdict: dict[str, Any]) -> float:
    drop = verdict.get("drop_points")
    return float(drop) if drop is not None else 100 * (1 - float(verdict["agreement"]))


def _results(session: Session, row: CompressionRun, name: str) -> dict[str, list[BenchmarkResult]]:
    """Return what devices of a class have measured, by board."""
    if row.benchmark_id is None:
        return {}
    benchmark, found = session.get_one(Benchmark, row.benchmark_id), dict[str, list[BenchmarkResult]]()
    for one in devices_of(session, row.benchmark_id):
        if one.outcome == "done" and benchmark.classes.get(one.hardware) == name:
            found.setdefault(one.hardware, []).append(BenchmarkResult.model_validate(one.result))
    return found
