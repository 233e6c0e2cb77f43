"""Begins a training at the hub: a run that holds what was sent, and the job that does it."""

from datetime import datetime

from sqlmodel import Session

from shoal_hub.errors import InvalidInputError, TooLargeError
from shoal_hub.jobs.queue import enqueue
from shoal_hub.mlflow.sources import hub_path
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.settings import Settings
from shoal_hub.tracking.experiments import experiment_for, to_ms
from shoal_hub.tracking.files import check_room, keep_file
from shoal_hub.tracking.runs import create_run, set_run_tags, update_run
from shoal_hub.tracking.tables import TrackedRun
from shoal_hub.training.allowed import read_checked
from shoal_hub.training.request import TrainingParams, TrainingPublic, TrainingRequest
from shoal_training.pipeline.recording import PIPELINE_FILE

KIND = "training"
SUBJECT = "runs/"
"""What a training's job is about begins so; its run's id follows."""
SENT = "pipeline"
"""Folder among a run's artifacts of what was sent."""


def start_training(
    session: Session, settings: Settings, store: ArtifactStore, request: TrainingRequest, *, by: str, now: datetime
) -> TrainingPublic:
    """Keep what was sent and queue the job.

    Raises:
        InvalidInputError: It is no pipeline.
        RefusedError: It would reach what it may not.
        TooLargeError: Too much was sent along.
    """
    pipeline = read_checked(request.pipeline, settings)
    sent_bytes = sum(map(len, request.files.values()))
    if sent_bytes > settings.training_sent_bytes:
        raise TooLargeError(
            f"training at the hub: {sent_bytes} bytes were sent along, {settings.training_sent_bytes} are taken",
            "have the hub read them: SHOAL_TRAINING_SOURCES; or raise SHOAL_TRAINING_SENT_BYTES",
        )
    check_room(session, settings, sent_bytes + len(request.pipeline))
    experiment = experiment_for(session, pipeline.name, by=by, now=now)
    run = create_run(session, experiment, name="", user_name=by, started_ms=to_ms(now), tags={}, by=by)
    update_run(session, run, status="SCHEDULED", ended_ms=None, name=None)
    root = files_root(run)
    for name, content in {**request.files, PIPELINE_FILE: request.pipeline.encode()}.items():
        keep_file(session, store, f"{root}/{SENT}/{name}", store.put(content), by=by, now=now)
    params = TrainingParams(
        run=run.id,
        is_registered=request.is_registered or bool(request.aliases),
        aliases=request.aliases,
        is_fresh=request.is_fresh,
    )
    subject = f"{SUBJECT}{run.id}"
    job = enqueue(session, KIND, subject, params.model_dump(mode="json"), by=by, priority=request.priority)
    set_run_tags(session, run, {"shoal.job": job.id})
    return TrainingPublic(job=job.id, run=run.id, model=pipeline.name)


def files_root(run: TrackedRun) -> str:
    """Return the path of a run's files among the hub's artifacts.

    Raises:
        InvalidInputError: Its experiment keeps them elsewhere.
    """
    root = hub_path(run.artifact_uri)
    if root is None:
        raise InvalidInputError(
            f"files of the run {run.id} go to {run.artifact_uri}, and those of trainings to the hub",
            "give the pipeline another name than that experiment has",
        )
    return root
