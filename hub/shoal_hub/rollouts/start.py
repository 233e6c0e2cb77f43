"""Starts a rollout, and takes an operator's commands on one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_hub.context import HubContext
from shoal_hub.database import announce, utc_now
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.encrypt import encrypt_variants, travels_as
from shoal_hub.registry.publish import publish_manifest
from shoal_hub.registry.tables import Model, VariantRow, Version
from shoal_hub.registry.versions import find_variants, find_version
from shoal_hub.rollouts.delta_pairs import delta_pairs
from shoal_hub.rollouts.facts import owner_of
from shoal_hub.rollouts.plan import plan_waves
from shoal_hub.rollouts.public import RolloutRequest
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.transfer.deltas import Pair, want_deltas
from shoal_hub.transfer.leases import has_room, make_room, take_leases
from shoal_hub.trust.director import Director
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.version_keys import VersionKeys


@dataclass(frozen=True)
class Starter:
    """What a start needs besides the database: store, keys for manifest and ciphertexts, and the settings' bounds."""

    artifacts: ArtifactStore
    trust: HubTrust
    director: Director
    version_keys: VersionKeys
    retained_budget_bytes: int
    delta_min_bytes: int
    delta_wait_s: float
    max_artifact_bytes: int = MAX_ARTIFACT_BYTES


def starter_of(hub: HubContext) -> Starter:
    """Return what a start needs of an open hub."""
    settings = hub.settings
    return Starter(
        hub.artifacts,
        hub.trust,
        hub.director,
        hub.version_keys,
        settings.retained_budget_bytes,
        settings.delta_min_bytes,
        settings.delta_wait_s,
        settings.max_artifact_bytes,
    )


def start_request(session: Session, starter: Starter, request: RolloutRequest, *, by: str) -> Rollout:
    """Start what the API was asked for; see `start_rollout`."""
    return start_rollout(session, starter, **request.model_dump(), by=by)


def start_rollout(
    session: Session,
    starter: Starter,
    *,
    model: str,
    version: str,
    devices: Sequence[str] | None = None,
    waves: Sequence[int] = (),
    max_failures: int = 0,
    timeout_s: float = 600.0,
    by: str,
) -> Rollout:
    """Plan a rollout and have it begin when the transaction has been committed.

    Args:
        session: An open transaction.
        starter: See `Starter`.
        model: Name of the model.
        version: Number, `latest`, stage or alias.
        devices: Ids in the order of the waves; None for all that are enrolled, those online first.
        waves: How many devices each wave has; the remainder joins the last.
        max_failures: How many devices may fail before the rollout is aborted.
        timeout_s: How long one device may take.
        by: Who starts it.

    Raises:
        NotFoundError: No such model, version or device.
        ConflictError: The version has no variants or one that is too large, another rollout of the model is running,
            or the model's versions no longer fit the metadata.
        InvalidInputError: The waves make no sense.
    """
    found = find_version(session, model, version)
    _check_none_running(session, model)
    chosen = _choose_devices(session, devices)
    sizes = plan_waves(len(chosen), waves)
    now = utc_now()
    encrypt_variants(session, starter.artifacts, starter.version_keys, found, now)
    variants = find_variants(session, found)
    _check_sizes(variants, starter.max_artifact_bytes)
    manifest = publish_manifest(session, starter.artifacts, starter.trust, starter.director, found)
    artifacts = [manifest.sha256, *_used_artifacts(found, variants, chosen)]
    make_room(session, artifacts, starter.retained_budget_bytes)
    rollout = Rollout(
        id=new_id("r"),
        model=model,
        version=found.number,
        manifest_sha256=manifest.sha256,
        manifest_size_bytes=manifest.size_bytes,
        waves=sizes,
        max_failures=max_failures,
        timeout_s=timeout_s,
        created_by=by,
        created_at=now,
    )
    session.add(rollout)
    session.flush()
    _add_deployments(session, rollout, chosen)
    take_leases(session, owner_of(rollout.id), artifacts, now)
    pairs = delta_pairs(session, found, variants, chosen, starter.delta_min_bytes)
    _take_deltas(session, starter, rollout, pairs, now)
    text = (
        f"rollout {rollout.id} of {model} version {found.number} to {len(chosen)} devices in waves of {sizes} by {by}"
    )
    record_event(session, "rollout_started", text, subject=owner_of(rollout.id), at=now)
    announce(session, "rollouts")
    return rollout


def _take_deltas(session: Session, starter: Starter, rollout: Rollout, pairs: set[Pair], now: datetime) -> None:
    """Have the rollout's deltas made, and lease what there is of them, if there is room for it beside the files."""
    if not pairs:
        return
    rollout.deltas_until = now + timedelta(seconds=starter.delta_wait_s)
    session.add(rollout)
    subject = f"models/{rollout.model}/{rollout.version}"
    made = want_deltas(session, pairs, subject=subject, by=rollout.created_by)
    if has_room(session, made, starter.retained_budget_bytes):
        take_leases(session, owner_of(rollout.id), made, now)


def _check_none_running(session: Session, model: str) -> None:
    session.get_one(Model, model, with_for_update=True)  # two starts at once come one after the other
    wanted = select(Rollout).where(Rollout.model == model, col(Rollout.state).in_(("running", "paused")))
    other = session.exec(wanted).first()
    if other is not None:
        raise ConflictError(
            f"starting a rollout of {model}: rollout {other.id} of version {other.version} is {other.state}",
            f"wait for it, or end it: shoal rollouts abort {other.id}",
        )


def _choose_devices(session: Session, devices: Sequence[str] | None) -> list[Device]:
    wanted = select(Device).where(col(Device.revoked_at).is_(None))
    if devices is None:
        rows = session.exec(wanted.order_by(col(Device.name), col(Device.id))).all()
        return sorted(rows, key=lambda row: row.presence != "online")
    by_id = {row.id: row for row in session.exec(wanted.where(col(Device.id).in_(devices))).all()}
    unknown = [device_id for device_id in devices if device_id not in by_id]
    if unknown:
        raise NotFoundError(f"starting a rollout: no device {', '.join(unknown)}", "list them: shoal devices list")
    return [by_id[device_id] for device_id in dict.fromkeys(devices)]


def _check_sizes(variants: Sequence[VariantRow], max_bytes: int) -> None:
    for variant in variants:
        size_bytes = variant.travelling_bytes
        if size_bytes > max_bytes:
            raise ConflictError(
                f"starting a rollout: the variant for {variant.target} has {size_bytes} bytes, "
                f"{max_bytes} is the most that travels",
                "compress the version further, or raise SHOAL_MAX_ARTIFACT_BYTES",
            )


def _used_artifacts(version: Version, variants: Sequence[VariantRow], devices: Sequence[Device]) -> set[str]:
    """Return the variants that these devices would take, as far as they have said what they can run."""
    files = {
        one.target: travels_as(one.sha256, one.encrypted_sha256, is_encrypted=version.is_encrypted) for one in variants
    }
    available = {target: sha256 for target, sha256 in files.items() if sha256 is not None}
    targets = [(device.reported or {}).get("targets", ()) for device in devices]
    chosen = {next((target for target in mine if target in available), "") for mine in targets}
    return {available[target] for target in chosen if target}


def _add_deployments(session: Session, rollout: Rollout, devices: Sequence[Device]) -> None:
    waves = [wave for wave, size in enumerate(rollout.waves) for _ in range(size)]
    for device, wave in zip(devices, waves, strict=True):
        session.add(Deployment(id=new_id("dp"), rollout_id=rollout.id, device_id=device.id, wave=wave))
    session.flush()


def find_rollout(session: Session, rollout_id: str, *, is_locked: bool = False) -> Rollout:
    """Return a rollout; locked, nobody else takes a step in it before this transaction has ended.

    Raises:
        NotFoundError: There is none of this id.
    """
    row = session.get(Rollout, rollout_id, with_for_update=is_locked or None)
    if row is None:
        raise NotFoundError(f"no rollout {rollout_id}", "list them: shoal rollouts list")
    return row


def deployments_of(session: Session, rollout_id: str) -> list[Deployment]:
    """Return a rollout's deployments, by wave."""
    wanted = select(Deployment).where(Deployment.rollout_id == rollout_id)
    return list(session.exec(wanted.order_by(col(Deployment.wave), col(Deployment.device_id))).all())
