"""The job that makes a run's files: recipes in turn, or a search; then devices are asked to measure them.

Nothing is kept of a run before all of its files are there; what recipes made is in a folder of the data folder, where
the next run of the same recipe on the same inputs finds it.
"""

import logging
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from sqlmodel import Session, col, delete, select

from shoal_compression.budget import best_accelerator
from shoal_compression.data import Samples
from shoal_compression.errors import CompressionError, ToleranceError
from shoal_compression.model import RUNTIMES, Model
from shoal_compression.original import Original, read_original
from shoal_compression.recipe import USUAL_DROP, Tolerance
from shoal_compression.recipe_result import RecipeResult
from shoal_compression.running_recipes import run_recipe
from shoal_compression.search.candidates import SOURCE
from shoal_contract.benchmarks import BenchmarkCandidate, DesiredBenchmark
from shoal_hub.benchmarks.device_classes import class_devices
from shoal_hub.benchmarks.offer import Plan, begin_benchmark
from shoal_hub.compression.choose import finish_run
from shoal_hub.compression.kept import RECIPES, SEARCHES, trim
from shoal_hub.compression.request import MAX_RECIPES, CompressionRequest, longest_of_s
from shoal_hub.compression.samples import SourceHere, device_samples, samples_file, source_here
from shoal_hub.compression.start import find_run
from shoal_hub.compression.tables import SUBJECT, CompressionResult, CompressionRun
from shoal_hub.database import announce, utc_now
from shoal_hub.errors import JobError
from shoal_hub.events.record import record_event
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.artifacts import store_artifact
from shoal_hub.registry.bundle_files import restore_bundle
from shoal_hub.registry.gate import check_for_devices
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.registry.tables import Version

log = logging.getLogger(__name__)
_FORMATS: Final = {"onnxruntime": "onnx", "litert": "tflite"}


class MakeResult(BaseModel):
    """The job's result."""

    made: tuple[str, ...]
    refused: dict[str, str]
    benchmark: str | None


class _Made(BaseModel):
    """What the recipes came to."""

    model_config = {"arbitrary_types_allowed": True}

    results: list[RecipeResult] = []
    refused: dict[str, str] = {}


def run(work: JobWork) -> MakeResult:
    """Make the files of a run, and have them measured or choose among them.

    Raises:
        CompressionError: The version can not be compressed.
        JobError: Nothing came of any recipe.
    """
    with work.database.session() as session:
        run_row = find_run(session, work.params["run"])
        version = session.get_one(Version, run_row.version_id)
    if run_row.state != "making":  # the process was ended after it had kept everything
        return MakeResult(made=(), refused=run_row.refused, benchmark=run_row.benchmark_id)
    request = CompressionRequest.model_validate(run_row.request)
    bundle = work.folder / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)  # a job that is done again starts anew
    restore_bundle(work.artifacts, version, bundle)
    original = read_original(bundle)
    kept = work.settings.data / "compression"
    trim(kept, work.settings.compression_max_bytes)
    make = _search if request.kind == "search" else _recipes
    made = _for_devices(make(original, request, kept, work), work)
    if not made.results:
        said = "; ".join(f"{name}: {why}" for name, why in made.refused.items())
        raise JobError(f"compressing {version.model} version {version.number}: nothing came of it: {said}"[:2000])
    samples = device_samples(original.data.test, request.samples)
    here = source_here(original.reference, samples)
    with work.database.transaction() as session:
        benchmark = _keep(session, run_row.id, original, made, (samples, here), work)
    shutil.rmtree(bundle)
    if benchmark is None:
        finish_run(work, run_row.id)
    return MakeResult(made=tuple(one.recipe.name for one in made.results), refused=made.refused, benchmark=benchmark)


def _recipes(original: Original, request: CompressionRequest, folder: Path, work: JobWork) -> _Made:
    made = _Made()
    for recipe in request.read_recipes:
        try:
            result = run_recipe(
                recipe,
                original.start(recipe),
                original.data,
                folder / RECIPES,
                reference=original.reference,
                accelerator=best_accelerator(),
                progress=work.progress,
            )
            made.results.append(result.accepted())
        except (CompressionError, ToleranceError) as error:
            log.warning("recipe %s: %s", recipe.name, error)
            made.refused[recipe.name] = str(error)
    return made


def _search(original: Original, request: CompressionRequest, folder: Path, work: JobWork) -> _Made:
    from shoal_compression.search.result import SearchSettings
    from shoal_compression.search.searching import search, search_key

    # What a choice may lose is worth trying, whatever recipes usually have to keep.
    tolerance = Tolerance(max_drop_points=max(USUAL_DROP, request.max_drop or 0.0))
    settings = SearchSettings(
        budget_minutes=request.budget_minutes,
        recipes=request.read_recipes,
        tolerance=tolerance,
        accelerator=best_accelerator(),
    )
    found = search(original, folder / SEARCHES / search_key(original, settings), settings, work.progress)
    fronts = {one.recipe_sha256 for front in found.fronts.values() for one in front}
    best = sorted(found.results, key=lambda one: one.recipe.sha256 not in fronts)
    return _Made(results=best[:MAX_RECIPES], refused=dict(found.report.refused))


def _for_devices(made: _Made, work: JobWork) -> _Made:
    """Return what devices could load; the gate of the registry has looked at each file."""
    kept, refused = list[RecipeResult](), dict(made.refused)
    for one in made.results:
        if one.model.form not in RUNTIMES:
            refused[one.recipe.name] = f"a {one.model.form} file runs on no device; end the recipe with to-litert"
            continue
        check_for_devices(one.path, _FORMATS[RUNTIMES[one.model.form]], BundleLimits.of(work.settings))  # type: ignore[arg-type]
        kept.append(one)
    return _Made(results=kept, refused=refused)


def _keep(
    session: Session,
    run_id: str,
    original: Original,
    made: _Made,
    measuring: tuple[Samples, SourceHere],
    work: JobWork,
) -> str | None:
    """Keep the files of a run; return the benchmark that measures them, or None where nobody does."""
    row = find_run(session, run_id, is_locked=True)
    if row.state != "making":
        raise JobError(f"{run_id} is {row.state}: nothing is kept")
    session.exec(delete(CompressionResult).where(col(CompressionResult.run) == run_id))
    for one in made.results:
        session.add(_row(session, run_id, one, work))
    row.refused, row.source = made.refused, _source(session, original, made, work)
    samples, here = measuring
    row.here = here.model_dump(mode="json")
    row.benchmark_id = _measure(session, row, original, samples, work)
    if row.benchmark_id is not None:
        row.state = "measuring"
    session.add(row)
    announce(session, "compression")
    return row.benchmark_id


def _row(session: Session, run_id: str, one: RecipeResult, work: JobWork) -> CompressionResult:
    stored = store_artifact(session, work.artifacts, one.path)
    page = one.folder / "report.html"
    return CompressionResult(
        run=run_id,
        name=one.recipe.name,
        recipe_sha256=one.recipe.sha256,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
        runtime=RUNTIMES[one.model.form],
        format=_FORMATS[RUNTIMES[one.model.form]],
        precision=one.model.precision[:32],
        report=one.report.model_dump(mode="json"),
        targets=[*one.recipe.targets],
        page=store_artifact(session, work.artifacts, page).sha256 if page.exists() else None,
        was_found=one.was_cached,
    )


def _source(session: Session, original: Original, made: _Made, work: JobWork) -> dict[str, Any] | None:
    """Keep the float file that the others are compared with; None where it is of a form that no device loads."""
    reference: Model = original.reference
    if reference.form not in RUNTIMES:
        return None
    stored = store_artifact(session, work.artifacts, reference.content)
    return {
        "sha256": stored.sha256,
        "size_bytes": stored.size_bytes,
        "runtime": RUNTIMES[reference.form],
        "precision": reference.precision,
        "measures": made.results[0].report.source.model_dump(mode="json"),
    }


def _measure(session: Session, row: CompressionRun, original: Original, samples: Samples, work: JobWork) -> str | None:
    request, now = CompressionRequest.model_validate(row.request), utc_now()
    candidates = _candidates(session, row)
    usual = DesiredBenchmark.model_fields["max_seconds"].default
    patience_s = request.patience_for_s(len(candidates), usual)
    fleet = class_devices(session) if request.devices_per_class else []
    wanted = [one for one in fleet if not request.targets or one.target_class in request.targets]
    classes = {one.board_class for one in wanted if one.is_expected(now, timedelta(seconds=patience_s))}
    if not classes:
        return None
    session.flush()
    stored = store_artifact(session, work.artifacts, samples_file(samples))
    body = DesiredBenchmark(
        inputs=original.reference.inputs,
        outputs=original.reference.outputs,
        candidates=tuple(candidates),
        samples_sha256=stored.sha256,
        samples_bytes=stored.size_bytes,
        max_load=request.max_load,
        deadline_at=now,
    )
    _say_if_short(session, row, patience_s, longest_of_s(len(candidates), body.max_seconds), len(candidates))
    plan = Plan(f"{SUBJECT}{row.id}", body, len(samples), classes, request.devices_per_class, patience_s)
    return begin_benchmark(session, plan, by=work.created_by, now=now).id


def _say_if_short(session: Session, row: CompressionRun, patience_s: float, longest_s: float, candidates: int) -> None:
    """Say that a device may have too little time for all candidates, where it does."""
    if patience_s < longest_s:
        text = (
            f"{row.id}: {candidates} candidates may take a device {longest_s / 60:.0f} minutes, and it has "
            f"{patience_s / 60:.0f}: what it has not measured by then is left out; give it more with --patience-min"
        )
        record_event(session, "compression_patience", text, subject=f"{SUBJECT}{row.id}", severity="warning")


def _candidates(session: Session, row: CompressionRun) -> list[BenchmarkCandidate]:
    rows = session.exec(
        select(CompressionResult).where(CompressionResult.run == row.id).order_by(col(CompressionResult.name))
    )
    files = [(one.name, one.runtime, one.sha256, one.size_bytes) for one in rows]
    if row.source is not None:
        files.insert(0, (SOURCE, row.source["runtime"], row.source["sha256"], row.source["size_bytes"]))
    names = ("name", "runtime", "sha256", "size_bytes")
    return [BenchmarkCandidate.model_validate(dict(zip(names, one, strict=True))) for one in files]
