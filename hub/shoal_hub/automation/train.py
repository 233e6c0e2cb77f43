"""The job that fine-tunes the champion at the hub: on its registered training data and on captured labelled samples."""

import shutil

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict

from shoal_contract.manifest import TensorSpec
from shoal_hub.audit.actor import JOBS
from shoal_hub.audit.record import record
from shoal_hub.automation.samples import Labelled, captured_samples, read_labelled
from shoal_hub.database import utc_now
from shoal_hub.errors import JobError
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.bundle_files import restore_bundle
from shoal_hub.registry.inspection import inspect_in_child
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.registry.register import RegisterRequest, register
from shoal_hub.registry.tables import Version
from shoal_hub.registry.versions import find_version
from shoal_training.bundle import Bundle
from shoal_training.fine_tune import TRAIN_FILE, FineTuning, fine_tune


class TrainParams(BaseModel):
    """The job's parameters."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: int
    captured_since: AwareDatetime
    min_labelled: int
    epochs: int
    batch_size: int
    learning_rate: float
    parent_share: float
    seed: int = 0
    policy: str = ""


class TrainResult(BaseModel):
    """The version that was made, and on how many samples."""

    model: str
    version: int
    samples: int
    captured: int


def run(work: JobWork) -> TrainResult:
    """Fine-tune a version and register the next one.

    Raises:
        JobError: There are too few captured labelled samples, or the version has several inputs.
        TrainingError: The version can not be trained.
    """
    params = TrainParams.model_validate(work.params)
    with work.database.session() as session:
        parent = find_version(session, params.model, str(params.version))
        inputs = [TensorSpec.model_validate(one) for one in parent.inputs]
        captured = captured_samples(
            session,
            work.artifacts,
            params.model,
            inputs,
            since=params.captured_since,
            classes=len(parent.labels),
            held_out=False,
        )
    if len(captured) < params.min_labelled:
        raise JobError(
            f"training {params.model}: {len(captured)} captured samples with a true label that may train, "
            f"{params.min_labelled} are asked for",
            "capture for longer, or send more labels back from the devices",
        )
    if len(inputs) != 1:
        raise JobError(f"training {params.model}: it has {len(inputs)} inputs, one expected", "train it by hand")
    return _train(work, params, parent, inputs[0], captured)


def _train(work: JobWork, params: TrainParams, parent: Version, spec: TensorSpec, captured: Labelled) -> TrainResult:
    parent_dir, bundle_dir = work.folder / "parent", work.folder / "version"
    for folder in (parent_dir, bundle_dir):
        shutil.rmtree(folder, ignore_errors=True)  # a job that is done again starts anew
    restore_bundle(work.artifacts, parent, parent_dir)
    registered = read_labelled(parent_dir / TRAIN_FILE, [spec])
    parts = [captured] if registered is None else [registered, captured]
    x = np.concatenate([one.inputs[spec.name] for one in parts]).astype(np.float32)
    y = np.concatenate([one.labels for one in parts]).astype(np.int32)
    settings = FineTuning(params.epochs, params.batch_size, params.learning_rate, params.parent_share, params.seed)
    bundle = fine_tune(parent_dir, x, y, bundle_dir, settings, author=work.created_by, progress=work.progress)
    number = _register(work, params, bundle)
    for folder in (parent_dir, bundle_dir):
        shutil.rmtree(folder)
    return TrainResult(model=params.model, version=number, samples=len(y), captured=len(captured))


def _register(work: JobWork, params: TrainParams, bundle: Bundle) -> int:
    folder = work.folder / "version"
    inspection = inspect_in_child(folder, BundleLimits.of(work.settings))
    recipe = {"policy": params.policy} if params.policy else {}
    request = RegisterRequest(parent_version=params.version, recipe=recipe | {"job": work.job_id})
    with work.database.transaction() as session:
        version = register(
            session, work.artifacts, folder, bundle, inspection, request, by=work.created_by, now=utc_now()
        )
        subject = f"models/{params.model}/versions/{version.number}"
        record(session, JOBS, "automation.register", subject, {}, {"job": work.job_id})
    return version.number
