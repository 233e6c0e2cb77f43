"""Which artifacts a device needs for what it is told, and what happens when it does not find one at the broker."""

from datetime import datetime

from sqlmodel import Session, col, select, update

from shoal_contract.desired import DesiredModel
from shoal_contract.telemetry import MissingArtifact
from shoal_hub.database import Database, announce
from shoal_hub.devices.compose import BENCHMARKS, FEDERATED, MODELS, TRIALS, compose
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.tables import DesiredRow, Device
from shoal_hub.registry.encrypt import travels_as
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.transfer.deltas import deltas_to
from shoal_hub.transfer.leases import LEASES, drop_leases, lease_users, take_leases
from shoal_hub.transfer.tables import Retained

_PREFIX = "device/"
_SETTLED = frozenset({"applied", "failed"})


def lease_user(device_id: str) -> str:
    """Return under whose name a device holds leases of its own; they end when it has converged."""
    return f"{_PREFIX}{device_id}"


def model_artifacts(session: Session, model: str, body: DesiredModel) -> list[str]:
    """Return what a device fetches to serve `body`: the manifest and the variant for its target."""
    columns = select(VariantRow.sha256, VariantRow.encrypted_sha256, Version.is_encrypted)
    wanted = columns.join(Version, col(Version.id) == col(VariantRow.version_id))
    found = wanted.where(Version.model == model, Version.number == body.version, VariantRow.target == body.target)
    rows = session.exec(found).all()
    files = [travels_as(plain, sealed, is_encrypted=is_encrypted) for plain, sealed, is_encrypted in rows]
    return [body.manifest.sha256, *(sha256 for sha256 in files if sha256 is not None)]


def needs_of(session: Session, device_id: str, now: datetime) -> set[str]:
    """Return every artifact that the device's desired state leads to."""
    composition = compose(intents_of(session, device_id), now)
    needs = {sha256 for model, body in composition.models.items() for sha256 in model_artifacts(session, model, body)}
    for model, trial in composition.trials.items():
        needs |= set(model_artifacts(session, model, trial.candidate))
    needs |= deltas_to(session, needs)
    for one in composition.federated.values():
        needs |= {one.trainer.sha256, one.weights.sha256}
    for body in composition.benchmarks.values():
        needs |= {body.samples_sha256, *(one.sha256 for one in body.candidates)}
    return needs


def answer_missing(session: Session, device_id: str, sha256: str, now: datetime) -> bool:
    """Have an artifact published again that a device did not find; return whether the device has a need of it.

    Its rollout may be over and the artifact cleared: the device then holds a lease of its own until it has converged.
    """
    if sha256 not in needs_of(session, device_id, now):
        return False
    take_leases(session, lease_user(device_id), [sha256], now)
    statement = update(Retained).where(col(Retained.sha256) == sha256, col(Retained.state) == "standing")
    session.connection().execute(statement.values(state="publishing", changed_at=now))
    return True


def take_missing(session: Session, device_id: str, body: MissingArtifact, now: datetime) -> None:
    """Answer a device that found an artifact's topics silent; what it has no need of is not published."""
    if answer_missing(session, device_id, body.sha256, now):
        announce(session, LEASES)


def drop_settled_leases(database: Database) -> None:
    """Let go of what devices asked for once they have converged."""
    with database.session() as session:
        settled = [user for user in lease_users(session) if user.startswith(_PREFIX) and _has_settled(session, user)]
    for user in settled:
        with database.transaction() as session:
            drop_leases(session, user)


def _has_settled(session: Session, user: str) -> bool:
    device_id = user.removeprefix(_PREFIX)
    device, desired = session.get(Device, device_id), session.get(DesiredRow, device_id)
    if device is None or device.revoked_at is not None or desired is None:
        return True
    is_behind = (device.reported_epoch, device.reported_generation) < (desired.epoch, desired.generation)
    sections = (device.reported or {}).get("sections", {})
    states = [one["state"] for key, one in sections.items() if key.startswith((MODELS, FEDERATED, TRIALS, BENCHMARKS))]
    return not is_behind and all(state in _SETTLED for state in states)
