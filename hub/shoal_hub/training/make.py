"""The job that runs a pipeline: the same steps, kept by content, and the same record as on a person's machine.

A training that was cancelled or killed is gone on with by the next one of the same content, from its last checkpoint.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from shoal_compression.output_folder import make_folder
from shoal_hub.audit.actor import JOBS
from shoal_hub.audit.record import record
from shoal_hub.compression.kept import trim
from shoal_hub.database import utc_now
from shoal_hub.errors import NotFoundError
from shoal_hub.jobs.queue import finish, require_running
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.bundle_files import restore_bundle
from shoal_hub.registry.inspection import inspect_in_child
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.registry.register import RegisterRequest, read_checked_bundle, register
from shoal_hub.registry.versions import find_version
from shoal_hub.tracking.files import files_below
from shoal_hub.tracking.runs import find_active, set_run_tags
from shoal_hub.training.allowed import check_allowed, check_files
from shoal_hub.training.request import TrainingParams, TrainingResult
from shoal_hub.training.sink import HubSink
from shoal_hub.training.start import SENT, files_root
from shoal_hub.training.studies import study_storage
from shoal_training.pipeline.reading import PipelineFile, read_pipeline
from shoal_training.pipeline.record import RunRecord
from shoal_training.pipeline.recording import PIPELINE_FILE, Recorder
from shoal_training.pipeline.running import run_pipeline

log = logging.getLogger(__name__)

TRAININGS: Final = "trainings"
_PARTS: Final = ("steps", "snapshots", "runs", "working")
_MADE: Final = (SENT, "champion", "bundle")
"""Folders in the job's that are of one attempt."""


def run(work: JobWork) -> TrainingResult:
    """Run the pipeline of a run, and register what came of it if that was asked for.

    Raises:
        TrainingError: A step can not be done; what was done before it is kept.
        RefusedError: It reads what it may not.
    """
    trainings = work.settings.data / TRAININGS
    make_folder(trainings)
    _trim(trainings, work.settings.training_max_bytes)
    try:
        return _run(work, TrainingParams.model_validate(work.params), trainings)
    finally:
        for made in _MADE:  # whatever comes of it: each attempt makes them anew
            shutil.rmtree(work.folder / made, ignore_errors=True)


def _run(work: JobWork, params: TrainingParams, trainings: Path) -> TrainingResult:
    file = _restored(work, params.run)
    check_allowed(file.pipeline, work.settings)
    check_files(file.pipeline, file.path.parent, work.settings)
    bundle = work.folder / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    with _alone(trainings / file.pipeline.name) as root, study_storage(work.settings, work.database) as storage:
        done = run_pipeline(
            file,
            root,
            bundle,
            _Told(work),
            is_fresh=params.is_fresh,
            champion_finder=lambda named: _champion(work, named),
            recorder=_recorder(work, params.run),
            study_storage=storage,
        )
    return _register(work, params, done, bundle) if params.is_registered else _result(params, done, None)


class _Told:
    """Tells progress to the job, and each step that begins to its log."""

    def __init__(self, work: JobWork) -> None:
        self._work, self._stage = work, ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            log.info("%s", stage)
            self._stage = stage
        self._work.progress(stage, done, total)


def _restored(work: JobWork, run_id: str) -> PipelineFile:
    """Write what was sent into the job's folder, and read the pipeline."""
    folder = work.folder / SENT
    shutil.rmtree(folder, ignore_errors=True)
    with work.database.session() as session:
        root = f"{files_root(find_active(session, run_id))}/{SENT}"
        sent = [(row.path.removeprefix(f"{root}/"), row.sha256) for row in files_below(session, root)]
    for name, sha256 in sent:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        work.artifacts.copy_to(sha256, path)
    return read_pipeline(folder / PIPELINE_FILE)


def _recorder(work: JobWork, run_id: str) -> Recorder:
    sink = HubSink(work.database, work.artifacts, work.settings, job_id=work.job_id, run_id=run_id, by=work.created_by)
    return Recorder(sink, lambda warning: log.warning("%s", warning))


def _champion(work: JobWork, named: str) -> Path | None:
    """Return the bundle folder of `model@alias`; None: the hub has none of that name."""
    name, _, ref = named.partition("@")
    folder = work.folder / "champion"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with work.database.session() as session:
            version = find_version(session, name, ref)
    except NotFoundError:
        return None
    restore_bundle(work.artifacts, version, folder)
    return folder


def _register(work: JobWork, params: TrainingParams, done: RunRecord, folder: Path) -> TrainingResult:
    """Register what came of it; in the same transaction the job has succeeded, so that it is never done twice."""
    work.progress("register", 0, 1)
    model = done.pipeline
    bundle = read_checked_bundle(folder, model, is_licence_required=work.settings.require_licence)
    inspection = inspect_in_child(folder, BundleLimits.of(work.settings))
    request = RegisterRequest(aliases=params.aliases, recipe={"job": work.job_id, "run": params.run})
    with work.database.transaction() as session:
        require_running(session, work.job_id)  # a training that was cancelled registers nothing
        version = register(
            session, work.artifacts, folder, bundle, inspection, request, by=work.created_by, now=utc_now()
        )
        set_run_tags(session, find_active(session, params.run), {"shoal.version": f"{model}/{version.number}"})
        subject = f"models/{model}/versions/{version.number}"
        record(session, JOBS, "training.register", subject, {}, {"job": work.job_id})
        result = _result(params, done, version.number)
        finish(session, work.job_id, result=result.model_dump(mode="json"))
    return result


def _result(params: TrainingParams, done: RunRecord, version: int | None) -> TrainingResult:
    cached = sum(one.is_cached for one in done.steps)
    return TrainingResult(
        model=done.pipeline, version=version, run=params.run, metrics=done.metrics, cached_steps=cached
    )


def _trim(trainings: Path, most_bytes: int) -> None:
    """Let go what was kept the longest; a pipeline that another job is at stays as it is."""
    with ExitStack() as held:
        free = [one.name for one in trainings.iterdir() if held.enter_context(_locked(one, waits=False))]
        trim(trainings, most_bytes, parts=[f"{name}/{part}" for name in free for part in _PARTS])


@contextmanager
def _alone(root: Path) -> Iterator[Path]:
    """Have a pipeline's folder of results for this job; another one of the same name waits for its end."""
    root.mkdir(exist_ok=True)
    with _locked(root, waits=True):
        yield root


@contextmanager
def _locked(root: Path, *, waits: bool) -> Iterator[bool]:
    """Have a folder for this process alone; yield False where another has it, unless it is waited for."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _lock(handle, waits=waits)
    finally:
        os.close(handle)


def _lock(handle: int, *, waits: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
