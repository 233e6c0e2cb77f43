"""Plans a federated run: checks that it can work before any device is asked."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session, col, select

from shoal_contract.ids import Name
from shoal_contract.reported import ReportedState
from shoal_hub.database import announce
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError, InvalidInputError
from shoal_hub.events.record import record_event
from shoal_hub.federation.tables import FederatedRun
from shoal_hub.ids import new_id
from shoal_hub.jobs.queue import enqueue
from shoal_hub.jobs.tables import Job
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.tables import Version
from shoal_hub.registry.versions import find_version
from shoal_hub.requests import Line
from shoal_training.bundle import BUNDLE_FILE, TRAINER_FILE, Bundle


class RunRequest(BaseModel):
    """What an operator asks for. `devices` None stands for every device that has the dataset."""

    model_config = ConfigDict(frozen=True)

    model: Name
    version: Line = "latest"
    dataset: Name | None = None
    """Named like the model where it is left out."""
    devices: Annotated[tuple[Line, ...], Field(max_length=10_000)] | None = None
    rounds: Annotated[int, Field(ge=1, le=1000)] = 3
    min_devices: Annotated[int, Field(ge=1, le=10_000)] = 2
    epochs: Annotated[int, Field(ge=1, le=1000)] = 5
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.05
    update_scheme: Literal["float32", "int8"] = "float32"
    parent_share: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """How much of the base version's weights the new version keeps, against forgetting (WiSE-FT, arXiv 2109.01903)."""
    deadline_s: Annotated[float, Field(ge=1, le=604_800)] = 600.0


def start_run(session: Session, store: ArtifactStore, request: RunRequest, *, by: str, now: datetime) -> FederatedRun:
    """Add a run and the job that plays it.

    Raises:
        NotFoundError: No such model or version.
        ConflictError: The version can not be trained on devices, or a run of this model is open.
        InvalidInputError: A device does not exist, or too few have the dataset.
    """
    version = find_version(session, request.model, request.version)
    _check_open(session, request.model)
    _check_readable(version)
    batch_size = _batch_size(store, version)
    dataset = request.dataset or request.model
    devices = _devices(session, request, dataset)
    run_id = new_id("f")
    job = enqueue(session, "federated", f"federated/{run_id}", {"run": run_id}, by=by)
    run = FederatedRun(
        id=run_id,
        model=request.model,
        base_version=version.number,
        dataset=dataset,
        devices=devices,
        rounds=request.rounds,
        min_devices=request.min_devices,
        epochs=request.epochs,
        batch_size=batch_size,
        learning_rate=request.learning_rate,
        update_scheme=request.update_scheme,
        parent_share=request.parent_share,
        deadline_s=request.deadline_s,
        job_id=job.id,
        created_by=by,
        created_at=now,
    )
    session.add(run)
    message = f"{run_id} started by {by}: {request.rounds} rounds of {request.model} on {len(devices)} devices"
    record_event(session, "federated_started", message, subject=f"federated/{run_id}")
    announce(session, "federated")
    return run


def stop_run(session: Session, run: FederatedRun, *, by: str, now: datetime) -> None:
    """Stop a run; the round that is open is abandoned.

    Raises:
        ConflictError: It has ended already.
    """
    if run.state != "running":
        raise ConflictError(f"{run.id} is {run.state} already", "nothing is left to stop")
    run.state, run.reason, run.ended_at = "stopped", f"stopped by {by}", now
    session.add(run)
    record_event(session, "federated_stop", f"{run.id} stopped by {by}", subject=f"federated/{run.id}")
    announce(session, "federated")


def _check_readable(version: Version) -> None:
    if version.is_encrypted:
        raise ConflictError(
            f"starting a run from {version.model} version {version.number}: it is encrypted, and the weights of a run "
            "travel in plain, where every device of the fleet could read them",
            "start it from a version that is not encrypted",
        )


def _check_open(session: Session, model: str) -> None:
    wanted = (
        select(FederatedRun)
        .join(Job, col(Job.id) == FederatedRun.job_id)
        .where(FederatedRun.model == model, FederatedRun.state == "running", col(Job.state).in_(("queued", "running")))
    )
    other = session.exec(wanted).first()
    if other is not None:
        raise ConflictError(
            f"{other.id} of {model} is still running", f"wait for it, or: shoal federated stop {other.id}"
        )


def _batch_size(store: ArtifactStore, version: Version) -> int:
    bundle = Bundle.model_validate_json(store.read(version.files[BUNDLE_FILE]))
    if TRAINER_FILE not in version.files or bundle.trainer is None:
        raise ConflictError(
            f"{version.model} version {version.number} has no {TRAINER_FILE}, so devices can not train it",
            "register a bundle that shoal_training wrote with a trainer",
        )
    return bundle.trainer.batch_size


def _devices(session: Session, request: RunRequest, dataset: str) -> list[str]:
    rows = session.exec(select(Device).where(Device.revoked_at == None)).all()  # noqa: E711 - SQL
    known = {row.id: row for row in rows}
    unknown = [device_id for device_id in request.devices or () if device_id not in known]
    if unknown:
        raise InvalidInputError(f"there is no device {unknown[0]}", "list them: shoal devices list")
    has_data = (row.id for row in rows if _has(row, dataset))
    chosen = sorted(set(request.devices) if request.devices is not None else has_data)
    if len(chosen) < request.min_devices:
        raise InvalidInputError(
            f"{len(chosen)} devices have the dataset {dataset}, the run needs at least {request.min_devices}",
            f"add labelled examples on devices: shoal-agent data add {dataset} FILE.npz; or lower --min-devices",
        )
    return chosen


def _has(row: Device, dataset: str) -> bool:
    return row.reported is not None and ReportedState.model_validate(row.reported).datasets.get(dataset, 0) > 0
