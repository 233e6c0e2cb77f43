"""What there is to choose by for each target class of a run: files, measurements, or profiles in their place."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlmodel import Session, col, select

from shoal_compression.measures import Measures
from shoal_compression.search.candidates import SOURCE
from shoal_compression.verdict import Verdict
from shoal_contract.benchmarks import BenchmarkResult
from shoal_hub.benchmarks.device_classes import class_devices, target_class
from shoal_hub.benchmarks.offer import board_classes, devices_of, has_measured
from shoal_hub.benchmarks.tables import Benchmark, BenchmarkDevice
from shoal_hub.compression.described import Describer
from shoal_hub.compression.figures import Choice, MadeFile, and_also, base_of, choose_for
from shoal_hub.compression.predictions import PREDICTED_RUNTIME, ClassPredictions, predict
from shoal_hub.compression.profiles import ProfiledFile, profiled_files
from shoal_hub.compression.request import CompressionRequest
from shoal_hub.compression.samples import SourceHere
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
        asked: How it ended with each device that was asked, in words.
        missing: Boards that were asked, and of which no device has measured.
        source: What stands in for the source on devices that do not run it.
        profiled: What devices have profiled in earlier ones, by board; read where there are no results.
    """

    target_class: str
    model: str
    files: tuple[MadeFile, ...]
    others: Mapping[str, str]
    results: Mapping[str, Sequence[BenchmarkResult]]
    asked: tuple[str, ...]
    missing: tuple[str, ...]
    source: SourceHere
    profiled: Mapping[str, Sequence[ProfiledFile]]


def read_evidence(session: Session, row: CompressionRun, most_results: int) -> list[Evidence]:
    """Return what there is to choose by for each target class; profiles are those of the newest results of a class."""
    request = CompressionRequest.model_validate(row.request)
    source = SourceHere() if row.here is None else SourceHere.model_validate(row.here)
    files, fleet = made_files(session, row), class_devices(session)
    benchmark = None if row.benchmark_id is None else session.get_one(Benchmark, row.benchmark_id)
    asked = [] if benchmark is None else devices_of(session, benchmark.id)
    found = []
    for name in sorted(set(request.targets) or {one.target_class for one in fleet} or {DEFAULT_CLASS}):
        of_class = [one for one in fleet if one.target_class == name]
        runtimes = {runtime for one in of_class for runtime in one.runtimes} or _RUNTIMES
        others = {one.name: why for one in files if (why := _why_not(one, name, runtimes))}
        of_name = [one for one in asked if one.target_class == name]
        boards = [] if benchmark is None else [one for one in board_classes(benchmark) if one.target_class == name]
        results = _results(of_name)
        found.append(
            Evidence(
                target_class=name,
                model=row.model,
                files=tuple(one for one in files if one.name not in others),
                others=others,
                results=results,
                asked=tuple(_said_of(one) for one in of_name),
                missing=tuple(one.hardware for one in boards if one.hardware not in results),
                source=source,
                profiled={} if results else profiled_files(session, name, most_results),
            )
        )
    return found


def _why_not(file: MadeFile, target: str, runtimes: Collection[str]) -> str:
    """Return why a file is no candidate for a class; empty if it is one."""
    if file.runtime not in runtimes:
        return f"{file.runtime} is on none of its devices"
    if file.targets and target not in {target_class((one,)) or one for one in file.targets}:
        return f"its recipe is for {', '.join(file.targets)}"
    return ""


def _said_of(device: BenchmarkDevice) -> str:
    problem = (device.problem or {}).get("message", "")
    return f"{device.device_id} ({device.hardware}) {device.outcome}" + (f": {problem}" if problem else "")


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
    base = base_of(one.target_class, one.model, one.files, one.results, predictions, one.source)
    if base.basis == "here" and request.devices_per_class > 0:
        made = base.model_copy(update={"reason": and_also(_not_measured(one), base.reason)})
    else:
        missing = f"nobody has measured on {', '.join(one.missing)}" if one.results and one.missing else ""
        base = base.model_copy(update={"reason": and_also(base.reason, missing)})
        made = choose_for(base, request.constraints, request.prefer)
    return made.model_copy(update={"left_out": {**made.left_out, **one.others}})


def _not_measured(one: Evidence) -> str:
    """Return why nothing is chosen for a class that was to be measured, and what to do."""
    why = "; ".join(one.asked) or "none of its devices is online"
    return (
        f"not measured on {one.target_class}: {why}. Start the run again while one of its devices is there, or take "
        "the figures of the hub's machine with --devices 0"
    )


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
            drop_points=Verdict.model_validate(one.report["verdict"]).points_lost,
            targets=tuple(one.targets),
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


def _results(devices: Sequence[BenchmarkDevice]) -> dict[str, list[BenchmarkResult]]:
    """Return what devices have measured, by board: all of it, or what was before their time had passed."""
    found: dict[str, list[BenchmarkResult]] = {}
    for one in devices:
        if has_measured(one):
            found.setdefault(one.hardware, []).append(BenchmarkResult.model_validate(one.result))
    return found
