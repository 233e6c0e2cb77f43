"""Runs a pipeline: each step that was not done before with the same content, then the bundle, with a record of it all.

Results lie below one folder: `snapshots/`, `steps/`, `runs/` and `working/`, where unfinished training keeps its
checkpoints. A run that was killed is gone on with by running it again.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np

from shoal_compression.output_folder import make_folder, says_unwritable
from shoal_compression.store import Store
from shoal_compression.values import content_hash
from shoal_training.bundle import Bundle, Parameter
from shoal_training.errors import DataError, LimitError, PipelineError
from shoal_training.ingestion.snapshots import Snapshot, SnapshotStore
from shoal_training.ingestion.source import Reading
from shoal_training.onnx_bundle import LABELS_KEY, About, bundle_from_onnx
from shoal_training.pipeline import steps
from shoal_training.pipeline.reading import PipelineFile
from shoal_training.pipeline.record import Environment, RunRecord, StepRecord, write_record
from shoal_training.progress import Progress, silent
from shoal_training.source_code import code_record

SNAPSHOT_FILE: Final = "snapshot"
MAX_CALIBRATION_ROWS: Final = 10_000
"""Of the bundle's samples: what devices are watched against, and compression calibrates with."""
_TOOLS: Final = ("numpy", "pyarrow", "scikit-learn", "skl2onnx", "onnx", "onnxruntime", "torch", "keras", "xgboost-cpu")
_RISING: Final = frozenset({"accuracy"})


@dataclass
class _Run:
    file: PipelineFile
    root: Path
    progress: Progress
    record: RunRecord
    is_fresh: bool
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
    file: PipelineFile, root: Path, out_dir: Path | None = None, progress: Progress = silent, *, is_fresh: bool = False
) -> RunRecord:
    """Run a pipeline and write its bundle.

    Args:
        file: As it was read; changes to it while it runs are for the next run.
        root: Folder of results; any number of runs may share it.
        out_dir: A new or empty folder for the bundle; None: one in the run's own folder.
        progress: Told at each step, and within.
        is_fresh: Whether steps are done again that were done before.

    Returns:
        What it came to.

    Raises:
        TrainingError: A step can not be done; what was done before it is kept, and the record says why.
    """
    if out_dir is not None and out_dir.exists() and any(out_dir.iterdir()):
        raise PipelineError(f"running {file.path}: {out_dir} is not empty; name a new folder for the bundle")
    make_folder(root)
    run = _Run(file, root, progress, _begun(file), is_fresh)
    run.note()
    try:
        with says_unwritable(root):
            _run(run, out_dir or run.folder / "bundle")
    except BaseException as error:
        run.note(state="failed", error=str(error) or type(error).__name__, ended_at=_now())
        raise
    run.note(state="finished", ended_at=_now())
    return run.record


def _run(run: _Run, out_dir: Path) -> None:
    pipeline = run.file.pipeline
    snapshot = _ingest(run)
    checked = pipeline.data_preprocessing.validation
    validated = run.step(
        "validate", [snapshot.record.id, _plain(checked)], lambda folder: steps.do_validate(pipeline, snapshot, folder)
    )
    found = json.loads((validated / steps.VALIDATION_FILE).read_text())
    failed = [one["message"] for one in found["checks"] if not one["passed"]]
    run.note(warnings=(*run.record.warnings, *failed))
    kept = np.load(validated / steps.KEPT_FILE)
    rows = steps.Rows(snapshot.table().filter(kept), pipeline)
    training = pipeline.model_training
    decided: list[Any] = [
        sha256(kept.tobytes()).hexdigest(),
        snapshot.record.id,
        [_plain(one) | {"kind": one.kind} for one in pipeline.data_preprocessing.transformation],
        [training.task, training.target, training.inputs],
        _plain(pipeline.model_evaluation.validation_scheme)
        | {"kind": pipeline.model_evaluation.validation_scheme.kind},
        pipeline.seed,
    ]
    prepared = run.step("prepare", decided, lambda folder: steps.do_prepare(rows, folder))
    decided = [prepared.name, training.trainer.framework, _plain(training.trainer)]
    working = run.root / "working" / content_hash(decided)
    trained = run.step(
        "train", decided, lambda folder: steps.do_train(pipeline, prepared, folder, working, run.progress)
    )
    shutil.rmtree(working, ignore_errors=True)
    told = json.loads((trained / steps.HISTORY_FILE).read_text())
    run.note(history=told["history"])
    evaluated = run.step(
        "evaluate", [trained.name], lambda folder: steps.do_evaluate(pipeline, prepared, trained, folder)
    )
    metrics = json.loads((evaluated / steps.EVALUATION_FILE).read_text())["metrics"]
    run.note(metrics=metrics)
    check_limits(metrics, pipeline.model_evaluation.limits)
    bundle = _bundle(run, prepared, trained, out_dir)
    run.note(bundle=str(out_dir.absolute()), artifacts={name: one.sha256 for name, one in bundle.files.items()})


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
    folder = run.step("ingest", [described, ingestion.is_strict, ingestion.schema_change, known], take)
    snapshot = snapshots.find((folder / SNAPSHOT_FILE).read_text())
    if snapshot is None:
        raise DataError(f"reading the data: its snapshot is gone from {snapshots.root}; run again with --fresh")
    refused = snapshot.record.refused_rows
    told = (f"{refused} rows or files could not be read and were left out: shoal data show {snapshot.record.id[:12]}",)
    run.note(snapshot=snapshot.record.id, warnings=told if refused else ())
    return snapshot


def _bundle(run: _Run, prepared: Path, trained: Path, out_dir: Path) -> Bundle:
    pipeline, about = run.file.pipeline, steps.read_about(prepared)
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
        card=pipeline.card,
        algorithm=training.trainer.described(),
        framework=training.trainer.framework,
        parameters=_flat(training.trainer.settings()),
        metrics=run.record.metrics,
        data_sha256=run.record.snapshot,
        seed=pipeline.seed,
        code=run.record.code,
    )
    kept = {name: array[np.sort(drawn)] for name, array in samples.items()}
    return bundle_from_onnx(trained / steps.MODEL_FILE, kept, out_dir, described, held)


def check_limits(metrics: dict[str, float], limits: dict[str, float]) -> None:
    """See that a model reaches what is asked of it.

    Raises:
        LimitError: It does not, or what is asked was not measured.
    """
    unknown = sorted(set(limits) - set(metrics))
    if unknown:
        raise LimitError(f"evaluating: {', '.join(unknown)} was not measured; known are {', '.join(sorted(metrics))}")
    missed = [
        f"{name} {metrics[name]:.4g}, {'at least' if name in _RISING else 'at most'} {limit:g} expected"
        for name, limit in limits.items()
        if (metrics[name] < limit if name in _RISING else metrics[name] > limit)
    ]
    if missed:
        raise LimitError(f"evaluating: {'; '.join(missed)}. No bundle was made; train further, or lower the limit")


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


def _now() -> datetime:
    return datetime.now(timezone.utc)
