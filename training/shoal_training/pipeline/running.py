"""Runs a pipeline: each step that was not done before with the same content, then the bundle, with a record of it all.

Results lie below one folder: `snapshots/`, `steps/`, `runs/` and `working/`, where unfinished training keeps its
checkpoints. A run that was killed is gone on with by running it again.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from shoal_compression.output_folder import make_folder, says_unwritable
from shoal_compression.store import Store
from shoal_compression.values import content_hash
from shoal_training.bundle import Bundle, Parameter
from shoal_training.errors import DataError, PipelineError
from shoal_training.evaluation_report.measured_card import bundle_slices, measured_card
from shoal_training.evaluation_report.page import Evaluated
from shoal_training.frameworks.trainer import no_metric
from shoal_training.ingestion.snapshots import Snapshot, SnapshotStore
from shoal_training.ingestion.source import Reading
from shoal_training.onnx_bundle import LABELS_KEY, About, bundle_from_onnx
from shoal_training.pipeline import checking, steps
from shoal_training.pipeline.definition import Pipeline
from shoal_training.pipeline.evaluating import (
    FoldFolders,
    check_evaluated,
    check_limits,
    decided_by,
    do_evaluate,
    do_measure,
    find_champion,
    read_evaluated,
    write_page,
)
from shoal_training.pipeline.finding import ChampionFinder
from shoal_training.pipeline.reading import PipelineFile
from shoal_training.pipeline.record import Environment, RunRecord, StepRecord, read_records, write_record
from shoal_training.pipeline.recording import Recorder
from shoal_training.pipeline.tuning import do_tune, tuned_trainer
from shoal_training.progress import Progress, silent
from shoal_training.source_code import code_record
from shoal_training.tuning.result import read_tuning
from shoal_training.tuning.settings import tuning_decided_by
from shoal_training.validation.validate import raise_if_failed

SNAPSHOT_FILE: Final = "snapshot"
MAX_CALIBRATION_ROWS: Final = 10_000
"""Of the bundle's samples: what devices are watched against, and compression calibrates with."""
_TOOLS: Final = ("numpy", "pyarrow", "scikit-learn", "skl2onnx", "onnx", "onnxruntime", "torch", "keras", "xgboost-cpu")


@dataclass
class _Run:
    file: PipelineFile
    root: Path
    progress: Progress
    record: RunRecord
    is_fresh: bool
    recorder: Recorder
    study_storage: str = ""
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.root / "runs" / self.record.id

    def note(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the record, which checks them
        """Write changes into the record."""
        self.record = self.record.model_copy(update=changes)
        write_record(self.folder, self.record)

    def step(self, name: str, decided_by: Any, do: Callable[[Path], None]) -> Path:  # noqa: ANN401 - what JSON has
        """Do a step, unless one with the same content was done; return its key's folder."""
        store = Store(self.root / "steps")
        key = content_hash([name, decided_by, _tools()])
        before, started = store.find(key), time.monotonic()
        if before is not None and self.is_fresh:
            store.drop(key)
            before = None
        self.progress(name, 0, 1)
        folder = before or store.put(key, do)
        self.progress(name, 1, 1)
        done = StepRecord(name=name, key=key, is_cached=before is not None, took_s=round(time.monotonic() - started, 3))
        self.note(steps=(*self.record.steps, done))
        return folder


def run_pipeline(
    file: PipelineFile,
    root: Path,
    out_dir: Path | None = None,
    progress: Progress = silent,
    *,
    is_fresh: bool = False,
    champion_finder: ChampionFinder | None = None,
    recorder: Recorder | None = None,
    study_storage: str = "",
) -> RunRecord:
    """Run a pipeline and write its bundle.

    Args:
        file: As it was read; changes to it while it runs are for the next run.
        root: Folder of results; any number of runs may share it.
        out_dir: A new or empty folder for the bundle; None: one in the run's own folder.
        progress: Told at each step, and within.
        is_fresh: Whether steps are done again that were done before.
        champion_finder: Finds a champion that is at a hub; None: one in a folder can be compared with alone.
        recorder: Told how it goes, for a tracking server; None: nobody is.
        study_storage: Where studies of tuning are kept that name no storage, as `Tuning.storage`; empty: in files.

    Returns:
        What it came to.

    Raises:
        TrainingError: A step can not be done; what was done before it is kept, and the record says why.
    """
    if out_dir is not None and out_dir.exists() and any(out_dir.iterdir()):
        raise PipelineError(f"running {file.path}: {out_dir} is not empty; name a new folder for the bundle")
    make_folder(root)
    run = _Run(file, root, progress, _begun(file), is_fresh, recorder or Recorder(None, _nobody), study_storage)
    run.note()
    run.recorder.begun(run.record)
    try:
        with says_unwritable(root):
            _run(run, out_dir or run.folder / "bundle", champion_finder)
    except BaseException as error:
        run.note(state="failed", error=str(error) or type(error).__name__, ended_at=_now())
        run.recorder.ended(run.record, run.folder)
        raise
    run.note(state="finished", ended_at=_now())
    run.recorder.ended(run.record, run.folder)
    return run.record


def _run(run: _Run, out_dir: Path, champion_finder: ChampionFinder | None) -> None:
    pipeline = run.file.pipeline
    champion = find_champion(pipeline, run.file.path.parent, champion_finder)
    snapshot = _ingest(run)
    kept = _validate(run, snapshot)
    rows = steps.Rows(snapshot.table().filter(kept), pipeline, run.file.path.parent)
    training, scheme = pipeline.model_training, pipeline.model_evaluation.validation_scheme
    decided: list[Any] = [
        sha256(kept.tobytes()).hexdigest(),
        snapshot.record.id,
        [_plain(one) | {"kind": one.kind} for one in pipeline.data_preprocessing.transformation],
        [training.task, training.target, training.inputs],
        [scheme.kind, _plain(scheme), scheme.decided_by(rows.folder)],
        pipeline.seed,
    ]
    prepared = run.step("prepare", [*decided, 0], lambda folder: steps.do_prepare(rows, folder))
    rows = _tuned(run, rows, prepared)
    run.recorder.trains(run.record)
    of = FoldFolders(prepared, _trained(run, rows.pipeline, prepared))
    told = json.loads((of.trained / steps.HISTORY_FILE).read_text())
    run.note(history={name: [(step, value) for step, value in points] for name, points in told["history"].items()})
    asked = [of.trained.name, *decided_by(pipeline, rows.folder, champion)]
    evaluated = run.step("evaluate", asked, lambda folder: do_evaluate(rows, of, folder, champion))
    further = [_further_fold(run, rows, decided, asked, number) for number in range(1, len(rows.folds()))]
    found = read_evaluated(rows.pipeline, evaluated, further)
    _note_evaluated(run, found)
    bundle = _bundle(run, rows, of, found, out_dir)
    run.note(bundle=str(out_dir.absolute()), artifacts={name: one.sha256 for name, one in bundle.files.items()})


def _trained(run: _Run, pipeline: Pipeline, prepared: Path, number: int = 0) -> Path:
    """Train on a prepared fold, or go on with what was begun before."""
    trainer, compute = pipeline.model_training.trainer, pipeline.model_training.compute
    sources = trainer.sources(run.file.path.parent)
    decided = [prepared.name, trainer.framework, _plain(trainer), sources, compute.kind, _plain(compute)]
    told = run.recorder.measured if number == 0 else no_metric
    working = steps.Working(run.root / "working" / content_hash(decided), run.progress, sources, told)
    folder = run.step(_named("train", number), decided, lambda new: steps.do_train(pipeline, prepared, new, working))
    shutil.rmtree(working.folder, ignore_errors=True)
    return folder


def _further_fold(run: _Run, rows: steps.Rows, decided: list[Any], asked: list[Any], number: int) -> Path:
    """Prepare, train and measure a fold whose model is not kept."""
    prepared = run.step(
        _named("prepare", number), [*decided, number], lambda folder: steps.do_prepare(rows, folder, number)
    )
    of = FoldFolders(prepared, _trained(run, rows.pipeline, prepared, number))
    return run.step(_named("evaluate", number), [of.trained.name, *asked], lambda folder: do_measure(rows, of, folder))


def _named(step: str, number: int) -> str:
    return step if number == 0 else f"{step} fold {number + 1}"


def _tuned(run: _Run, rows: steps.Rows, prepared: Path) -> steps.Rows:
    """Return the rows with a pipeline whose trainer has the settings that tuning found; as they are without tuning."""
    training = rows.pipeline.model_training
    tuning = training.tuning
    if tuning is None:
        return rows
    sources = training.trainer.sources(run.file.path.parent)
    decided = [prepared.name, training.trainer.framework, _plain(training.trainer), sources, *tuning_decided_by(tuning)]
    working = run.root / "working" / content_hash(["tune", decided])
    kept = tuning.model_copy(update={"storage": tuning.storage or run.study_storage})
    tuned = run.step("tune", decided, lambda new: do_tune(rows, kept, prepared, new, working, run.progress))
    shutil.rmtree(working, ignore_errors=True)
    trainer, found = tuned_trainer(training.trainer, tuned), read_tuning(tuned)
    pictures = {Path(name).stem: str((tuned / name).absolute()) for name in found.pictures}
    told = {"tuning": found.model_dump(mode="json", exclude={"trials"}), "reports": {**run.record.reports, **pictures}}
    run.note(parameters=trainer.settings(), **told)
    changed = training.model_copy(update={"trainer": trainer})
    return replace(rows, pipeline=rows.pipeline.model_copy(update={"model_training": changed}))


def _note_evaluated(run: _Run, found: Evaluated) -> None:
    """Record what was measured, and see that it is enough.

    Raises:
        LimitError: It is not.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    page = write_page(found, run.folder)
    folds = {one.name: list(one.values) for one in found.spread}
    run.note(metrics=found.result.metrics, fold_metrics=folds, evaluation=str(page.absolute()))
    run.note(warnings=(*run.record.warnings, *check_evaluated(run.file.pipeline, found)))
    check_limits(found.result, run.file.pipeline.model_evaluation.limits)


def _ingest(run: _Run) -> Snapshot:
    ingestion = run.file.pipeline.data_ingestion
    reading = Reading(
        run.file.path.parent, run.progress, is_strict=ingestion.is_strict, schema_change=ingestion.schema_change
    )
    snapshots = SnapshotStore(run.root / "snapshots")

    def take(folder: Path) -> None:
        (folder / SNAPSHOT_FILE).write_text(snapshots.take(ingestion.sources, reading).record.id)

    prints = [source.fingerprint(reading) for source in ingestion.sources]
    known: Any = prints if None not in prints else uuid4().hex  # only reading tells
    described = [source.described() for source in ingestion.sources]
    decided = [described, ingestion.is_strict, ingestion.schema_change, known]
    folder = run.step("ingest", decided, take)
    snapshot = snapshots.find((folder / SNAPSHOT_FILE).read_text())
    if snapshot is None:  # it was removed, to have room: what is there is read again
        Store(run.root / "steps").drop(folder.name)
        run.note(steps=run.record.steps[:-1])
        folder = run.step("ingest", decided, take)
        snapshot = snapshots.find((folder / SNAPSHOT_FILE).read_text())
    if snapshot is None:
        raise DataError(f"reading the data: its snapshot is gone from {snapshots.root}; see that nothing removes it")
    refused = snapshot.record.refused_rows
    told = (f"{refused} rows or files could not be read and were left out: shoal data show {snapshot.record.id[:12]}",)
    run.note(snapshot=snapshot.record.id, warnings=told if refused else ())
    return snapshot


def _validate(run: _Run, snapshot: Snapshot) -> NDArray[np.bool_]:
    """Return which rows are gone on with, (rows,)."""
    pipeline, records = run.file.pipeline, read_records(run.root / "runs")
    snapshots = SnapshotStore(run.root / "snapshots")
    before = checking.version_before(records, pipeline.name, snapshot.record.id, snapshots)
    decided = checking.decided_by(pipeline, snapshot, before, run.record.id)
    folder = run.step("validate", decided, lambda folder: checking.do_validate(pipeline, snapshot, folder, before))
    found = json.loads((folder / checking.VALIDATION_FILE).read_text())
    told = tuple(f"{one['check']}: {one['message']}" for one in found["checks"] if not one["passed"])
    run.note(warnings=(*run.record.warnings, *told), reports={**run.record.reports, **checking.reports_in(folder)})
    raise_if_failed(found)
    kept: NDArray[np.bool_] = np.load(folder / checking.KEPT_FILE)
    return kept


def _bundle(run: _Run, rows: steps.Rows, of: FoldFolders, found: Evaluated, out_dir: Path) -> Bundle:
    pipeline, prepared, about = rows.pipeline, of.prepared, steps.read_about(of.prepared)
    training = pipeline.model_training
    samples = steps.read_arrays(prepared / steps.TRAIN_FILE, about.inputs)
    held = steps.read_arrays(prepared / steps.HELD_FILE, about.inputs)
    truth = steps.read_truth(prepared / steps.HELD_FILE)
    if truth is not None and training.task == "classification":
        held[LABELS_KEY] = truth
    drawn = np.random.default_rng(pipeline.seed).permutation(len(next(iter(samples.values()))))[:MAX_CALIBRATION_ROWS]
    described = About(
        name=pipeline.name,
        author=pipeline.author,
        labels=about.labels,
        slices=bundle_slices(found.result, about.inputs, rows.inputs, len(about.labels)),
        card=measured_card(pipeline.card, found),
        algorithm=training.trainer.described(),
        framework=training.trainer.framework,
        parameters=_flat(training.trainer.settings())
        | ({} if found.result.threshold is None else {"anomaly_threshold": found.result.threshold}),
        metrics=run.record.metrics,
        data_sha256=run.record.snapshot,
        seed=pipeline.seed,
        code=run.record.code,
    )
    kept = {name: array[np.sort(drawn)] for name, array in samples.items()}
    written = json.loads((of.trained / steps.HISTORY_FILE).read_text())["files"]
    more = {name: of.trained / name for name in written}
    return bundle_from_onnx(of.trained / steps.MODEL_FILE, kept, out_dir, described, held, more)


def _begun(file: PipelineFile) -> RunRecord:
    return RunRecord(
        id=f"{_now():%Y%m%d-%H%M%S}-{uuid4().hex[:6]}",
        pipeline=file.pipeline.name,
        state="running",
        started_at=_now(),
        pipeline_sha256=sha256(file.text.encode()).hexdigest(),
        text=file.text,
        parameters=file.pipeline.model_training.trainer.settings(),
        code=code_record(file.path),
        environment=Environment.here(),
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 - what JSON has
    return value.model_dump(mode="json")


def _flat(fields: dict[str, Any], before: str = "") -> dict[str, Parameter]:
    """Return nested parameters under names with dots; what is none of a parameter's types as text."""
    found: dict[str, Parameter] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}.")
        elif value is not None:
            found[f"{before}{name}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return found


def _tools() -> dict[str, str]:
    """Return the versions of what decides results beside the fields."""
    found = {}
    for name in ("shoal", *_TOOLS):
        try:
            found[name] = installed_version(name)
        except PackageNotFoundError:
            continue
    return found


def _nobody(_warning: str) -> None:
    """Tell nobody."""


def _now() -> datetime:
    return datetime.now(timezone.utc)
