"""Starts and ends trials. What devices are told follows by intents of the section `trials/<model>`."""

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from shoal_contract.desired import ArtifactRef, DesiredModel, DesiredTrial
from shoal_contract.reported import ModelReport
from shoal_contract.split import falls_within
from shoal_hub.context import HubContext
from shoal_hub.database import announce
from shoal_hub.devices.compose import TRIALS
from shoal_hub.devices.intents import drop_intents_of, replace_intents
from shoal_hub.devices.matching import load_devices
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.pins.pin import pinned_devices
from shoal_hub.registry.encrypt import encrypt_variants
from shoal_hub.registry.publish import publish_manifest
from shoal_hub.registry.tables import Model
from shoal_hub.registry.versions import find_variants, find_version
from shoal_hub.transfer.leases import drop_leases, make_room, take_leases
from shoal_hub.transfer.needs import model_artifacts
from shoal_hub.trials.public import TrialRequest
from shoal_hub.trials.tables import Trial, TrialArm, TrialDevice


@dataclass(frozen=True)
class _Placed:
    device: Device
    arm: TrialArm
    target: str


def owner_of(trial_id: str) -> str:
    """Return the name under which a trial owns intents and leases."""
    return f"trial/{trial_id}"


def start_trial(session: Session, hub: HubContext, request: TrialRequest, *, by: str, now: datetime) -> Trial:
    """Start a trial when the transaction has been committed.

    Args:
        session: An open transaction.
        hub: Store, keys and settings.
        request: What to try.
        by: Who starts it.
        now: The clock.

    Raises:
        NotFoundError: No such model, version or device.
        ConflictError: A trial of the model runs, the version is the one that serves, or no device fits.
    """
    found = find_version(session, request.model, request.version)
    _check_none_running(session, request.model)
    devices = _enrolled(session, request.devices)
    if request.mode == "ab":  # a pinned device answers by its version alone
        pinned = pinned_devices(session, request.model, now)
        devices = [one for one in devices if one.id not in pinned]
    against = request.against or _most_served(devices, request.model)
    if found.number == against:
        raise ConflictError(
            f"starting a trial of {request.model} version {found.number}: that is the version that serves",
            "try another version against it",
        )
    encrypt_variants(session, hub.artifacts, hub.version_keys, found, now)
    targets = {one.target for one in find_variants(session, found)}
    salt = secrets.token_hex(8)
    placed = _place(devices, request, against, targets, salt)
    manifest = publish_manifest(session, hub.artifacts, hub.trust, hub.director, found)
    trial = _row(request, found.number, against, manifest, salt, by, now)
    session.add(trial)
    session.flush()
    _tell(session, hub, trial, manifest, placed, now)
    counts = Counter(one.arm for one in placed)
    text = f"trial {trial.id} of {trial.model} version {trial.version} against {against} by {by}: {dict(counts)}"
    record_event(session, "trial_started", text, subject=owner_of(trial.id), at=now)
    announce(session, "trials")
    return trial


def end_trial(session: Session, trial: Trial, reason: str, now: datetime) -> None:
    """End a running trial: devices let the candidate go, and what serves goes on.

    Raises:
        ConflictError: It has ended.
    """
    if trial.state == "ended":
        raise ConflictError(f"ending trial {trial.id}: it has ended, {trial.reason}", "nothing to do")
    trial.state, trial.reason, trial.ended_at = "ended", reason, now
    session.add(trial)
    drop_intents_of(session, owner_of(trial.id))
    drop_leases(session, owner_of(trial.id))
    record_event(session, "trial_ended", f"trial {trial.id} {reason}", subject=owner_of(trial.id), at=now)
    announce(session, "trials")


def find_trial(session: Session, trial_id: str, *, is_locked: bool = False) -> Trial:
    """Return a trial; locked, nobody else changes it before this transaction has ended.

    Raises:
        NotFoundError: There is none of this id.
    """
    row = session.get(Trial, trial_id, with_for_update=is_locked or None)
    if row is None:
        raise NotFoundError(f"no trial {trial_id}", "list them: shoal trials list")
    return row


def _check_none_running(session: Session, model: str) -> None:
    session.get_one(Model, model, with_for_update=True)  # two starts at once come one after the other
    other = session.exec(select(Trial).where(Trial.model == model, Trial.state == "running")).first()
    if other is not None:
        raise ConflictError(
            f"starting a trial of {model}: trial {other.id} of version {other.version} runs",
            f"end it first: shoal trials stop {other.id}",
        )


def _enrolled(session: Session, devices: Sequence[str] | None) -> list[Device]:
    if devices is None:
        wanted = select(Device).where(col(Device.revoked_at).is_(None)).order_by(col(Device.id))
        return list(session.exec(wanted).all())
    found = [one for one in load_devices(session, sorted(set(devices))) if one.revoked_at is None]
    if unknown := sorted(set(devices) - {one.id for one in found}):
        raise NotFoundError(f"starting a trial: no device {', '.join(unknown)}", "list them: shoal devices list")
    return found


def _served(device: Device, model: str) -> int | None:
    report = (device.reported or {}).get("models", {}).get(model)
    active = ModelReport.model_validate(report).active if report is not None else None
    return active.version if active is not None and active.state == "good" else None


def _most_served(devices: Sequence[Device], model: str) -> int:
    counts = Counter(version for device in devices if (version := _served(device, model)) is not None)
    if not counts:
        raise ConflictError(
            f"starting a trial of {model}: none of the {len(devices)} devices serves any version of it",
            f"roll one out first: shoal rollouts start {model} VERSION",
        )
    return counts.most_common(1)[0][0]


def _place(
    devices: Sequence[Device], request: TrialRequest, against: int, targets: set[str], salt: str
) -> list[_Placed]:
    placed = []
    for device in devices:
        if _served(device, request.model) != against:
            continue
        target = next((one for one in (device.reported or {}).get("targets", ()) if one in targets), None)
        if target is None:
            continue
        arm: TrialArm = "both"
        if request.mode == "ab" and request.split == "device":
            arm = "candidate" if falls_within(request.share, salt, device.id) else "control"
        placed.append(_Placed(device, arm, "" if arm == "control" else target))
    if not any(one.target for one in placed):
        raise ConflictError(
            f"starting a trial of {request.model}: {len(placed)} of {len(devices)} devices serve version {against} and "
            f"run a variant for {', '.join(sorted(targets))}, and none of them would get the candidate",
            "compress the version for the devices' targets, name other devices, or give a larger share",
        )
    return placed


def _row(
    request: TrialRequest, version: int, against: int, manifest: ArtifactRef, salt: str, by: str, now: datetime
) -> Trial:
    fields = request.model_dump(exclude={"version", "against", "devices", "duration_s"})
    return Trial(
        id=new_id("t"),
        version=version,
        against=against,
        manifest_sha256=manifest.sha256,
        manifest_size_bytes=manifest.size_bytes,
        salt=salt,
        created_by=by,
        created_at=now,
        ends_at=now + timedelta(seconds=request.duration_s),
        **fields,
    )


def _tell(
    session: Session, hub: HubContext, trial: Trial, manifest: ArtifactRef, placed: Sequence[_Placed], now: datetime
) -> None:
    """Lease what the devices will fetch, and have each want its side of the trial."""
    owner, bodies = owner_of(trial.id), _bodies(trial, manifest, {one.target for one in placed if one.target})
    artifacts = {sha256 for body in bodies.values() for sha256 in model_artifacts(session, trial.model, body.candidate)}
    make_room(session, artifacts, hub.settings.retained_budget_bytes)
    take_leases(session, owner, sorted(artifacts), now)
    session.add_all(
        TrialDevice(trial_id=trial.id, device_id=one.device.id, arm=one.arm, target=one.target) for one in placed
    )
    replace_intents(
        session,
        f"{TRIALS}{trial.model}",
        kind="ab",
        owner=owner,
        bodies={one.device.id: bodies[one.target] for one in placed if one.target},
        replaces=(),
        now=now,
        until=trial.ends_at,
    )


def _bodies(trial: Trial, manifest: ArtifactRef, targets: set[str]) -> dict[str, DesiredTrial]:
    """Return the section by the target of the candidate's variant."""
    is_by_device = trial.mode == "ab" and trial.split == "device"
    return {
        target: DesiredTrial(
            id=trial.id,
            mode=trial.mode,
            candidate=DesiredModel(version=trial.version, target=target, manifest=manifest, deployment=trial.id),
            against=trial.against,
            share=1.0 if is_by_device else trial.share,
            salt=trial.salt,
            ends_at=trial.ends_at,
            max_cpu_share=trial.max_cpu_share,
            max_memory_bytes=trial.max_memory_bytes,
            tolerance=trial.tolerance,
            hard_examples=trial.hard_examples,
        )
        for target in targets
    }
