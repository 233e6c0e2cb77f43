"""Starts and ends trials. What devices are told follows by intents of the section `trials/<model>`."""

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from shoal_contract.artifact_ref import ArtifactRef
from shoal_hub.context import HubContext
from shoal_hub.database import announce
from shoal_hub.devices.intents import drop_intents_of
from shoal_hub.devices.matching import load_devices
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.pins.pin import pinned_devices
from shoal_hub.registry.encrypt import encrypt_variants
from shoal_hub.registry.publish import publish_manifest
from shoal_hub.registry.tables import Model, VariantRow, Version
from shoal_hub.registry.versions import find_variants, find_version
from shoal_hub.rollouts.delta_pairs import delta_pairs
from shoal_hub.rollouts.request import RolloutPlan
from shoal_hub.rollouts.start import check_sizes
from shoal_hub.transfer.deltas import want_deltas
from shoal_hub.transfer.leases import drop_leases, has_room, make_room, take_leases
from shoal_hub.transfer.needs import model_artifacts
from shoal_hub.trials.owner import owner_of
from shoal_hub.trials.placing import Candidate, Misfit, Placed, Placing, place, served_version
from shoal_hub.trials.public import TrialRequest, TrialResults
from shoal_hub.trials.tables import Trial, TrialDevice
from shoal_hub.trials.tell import bodies_of, tell_trial


def start_trial(
    session: Session, hub: HubContext, request: TrialRequest, *, by: str, now: datetime
) -> tuple[Trial, list[Misfit]]:
    """Start a trial when the transaction has been committed.

    Args:
        session: An open transaction.
        hub: Store, keys and settings.
        request: What to try.
        by: Who starts it.
        now: The clock.

    Returns:
        The trial, and the devices that take no part in it, as it does not fit them.

    Raises:
        NotFoundError: No such model, version or device.
        ConflictError: A trial of the model runs, the version is the one that serves or is too large, or no device fits.
    """
    found = find_version(session, request.model, request.version)
    _check_none_running(session, request.model)
    devices = _enrolled(session, request.devices)
    pinned = pinned_devices(session, request.model, now) if request.mode == "ab" else set()
    against = request.against or _most_served([one for one in devices if one.id not in pinned], request.model)
    if found.number == against:
        raise ConflictError(
            f"starting a trial of {request.model} version {found.number}: that is the version that serves",
            "try another version against it",
        )
    encrypt_variants(session, hub.artifacts, hub.version_keys, found, now)
    variants = find_variants(session, found)
    check_sizes(found, variants, hub.settings.max_artifact_bytes)
    candidate = Candidate(found, against, {one.target: one for one in variants})
    placing = place(devices, request, candidate, pinned, secrets.token_hex(8))
    manifest = publish_manifest(session, hub.artifacts, hub.trust, hub.director, found)
    trial = _row(request, found.number, against, manifest, placing.salt, by, now)
    session.add(trial)
    session.flush()
    _bring(session, hub, trial, found, variants, placing.placed, now)
    record_event(session, "trial_started", _started(trial, placing), subject=owner_of(trial.id), at=now)
    announce(session, "trials")
    return trial, placing.misfits


def end_trial(session: Session, trial: Trial, reason: str, results: TrialResults, now: datetime) -> None:
    """End a running trial: devices let the candidate go, and what serves goes on.

    Args:
        session: An open transaction.
        trial: The trial, locked.
        reason: Why it ends.
        results: What it has come to, read just before: what it is shown with from now on.
        now: The clock.

    Raises:
        ConflictError: It has ended.
    """
    if trial.state == "ended":
        raise ConflictError(f"ending trial {trial.id}: it has ended, {trial.reason}", "nothing to do")
    trial.state, trial.reason, trial.ended_at = "ended", reason, now
    if trial.mode == "ab":
        trial.results = json.loads(results.model_dump_json())  # bounds that are not finite are null
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


def _most_served(devices: Sequence[Device], model: str) -> int:
    counts = Counter(version for device in devices if (version := served_version(device, model)) is not None)
    if not counts:
        raise ConflictError(
            f"starting a trial of {model}: none of the {len(devices)} devices serves any version of it",
            f"roll one out first: shoal rollouts start {model} VERSION",
        )
    return counts.most_common(1)[0][0]


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


def _bring(
    session: Session,
    hub: HubContext,
    trial: Trial,
    version: Version,
    variants: Sequence[VariantRow],
    placed: Sequence[Placed],
    now: datetime,
) -> None:
    """Lease what the devices will fetch, have deltas to it made, and tell the devices once there are none to come."""
    session.add_all(
        TrialDevice(trial_id=trial.id, device_id=one.device.id, arm=one.arm, target=one.target) for one in placed
    )
    owner, bodies = owner_of(trial.id), bodies_of(trial, {one.target for one in placed if one.target})
    artifacts = {sha256 for body in bodies.values() for sha256 in model_artifacts(session, trial.model, body.candidate)}
    make_room(session, artifacts, hub.settings.retained_budget_bytes)
    take_leases(session, owner, sorted(artifacts), now)
    devices = [one.device for one in placed if one.target]
    pairs = delta_pairs(session, version, variants, RolloutPlan(), devices, hub.settings.delta_min_bytes)
    made = want_deltas(session, pairs, subject=f"models/{trial.model}/{trial.version}", by=trial.created_by)
    if has_room(session, made, hub.settings.retained_budget_bytes):
        take_leases(session, owner, made, now)
    tell_trial(session, trial, now, timedelta(seconds=hub.settings.delta_wait_s))


def _started(trial: Trial, placing: Placing) -> str:
    counts = dict(Counter(one.arm for one in placing.placed))
    out = f", {len(placing.misfits)} left out as it does not fit them" if placing.misfits else ""
    what = f"trial {trial.id} of {trial.model} version {trial.version} against {trial.against}"
    return f"{what} by {trial.created_by}: {counts}{out}"
