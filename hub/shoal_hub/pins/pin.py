"""Pins a device to a version, and lets it go. A pin is an intent above every other; there is no table beside it."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from shoal_contract.desired import DesiredModel
from shoal_hub.context import HubContext
from shoal_hub.devices.compose import MODELS
from shoal_hub.devices.intents import drop_intents, set_intent
from shoal_hub.devices.tables import PIN, Device, Intent
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.registry.encrypt import encrypt_variants
from shoal_hub.registry.publish import publish_manifest
from shoal_hub.registry.versions import find_variants, find_version
from shoal_hub.transfer.leases import make_room, take_leases
from shoal_hub.transfer.needs import lease_user, model_artifacts

_PREFIX = "pin/"


def pin(
    session: Session,
    hub: HubContext,
    device_id: str,
    model: str,
    version: str,
    *,
    by: str,
    now: datetime,
    until: datetime | None = None,
) -> Intent:
    """Have a device serve one version of a model, and nothing else, until it is let go.

    Args:
        session: An open transaction; the desired state follows when it has been committed.
        hub: Store, keys and settings.
        device_id: The device.
        model: Name of the model.
        version: Number, `latest`, stage or alias; what it leads to later does not matter.
        by: Who wants it.
        now: The clock.
        until: When the pin ends by itself.

    Raises:
        NotFoundError: No such device, model or version.
        ConflictError: The device was revoked or can run no variant of it.
    """
    device, found = _device(session, device_id), find_version(session, model, version)
    encrypt_variants(session, hub.artifacts, hub.version_keys, found, now)
    available = {one.target for one in find_variants(session, found)}
    targets = (device.reported or {}).get("targets", ())
    target = next((one for one in targets if one in available), None)
    if target is None:
        raise ConflictError(
            f"pinning {device_id} to {model} version {found.number}: it runs {', '.join(targets) or 'nothing yet'}, "
            f"variants are for {', '.join(sorted(available)) or 'no target'}",
            "compress the version for the device's target, or wait until it has reported",
        )
    manifest = publish_manifest(session, hub.artifacts, hub.trust, hub.director, found)
    body = DesiredModel(version=found.number, target=target, manifest=manifest, deployment=new_id("pn"))
    artifacts = model_artifacts(session, model, body)
    make_room(session, artifacts, hub.settings.retained_budget_bytes)
    take_leases(session, lease_user(device_id), artifacts, now)  # ends when the device has converged
    section, owner = f"{MODELS}{model}", owner_of(device_id, model)
    set_intent(session, device_id, section, kind="pin", owner=owner, body=body, now=now, until=until)
    session.flush()
    text = f"{device_id} is pinned to {model} version {found.number} by {by}"
    record_event(session, "device_pinned", text, subject=f"model/{model}", device_id=device_id, at=now)
    return session.exec(select(Intent).where(Intent.device_id == device_id, Intent.owner == owner)).one()


def unpin(session: Session, device_id: str, model: str, *, by: str) -> Intent:
    """Let a device go, and return what it was pinned to: what rollouts want of it holds again at once.

    Raises:
        NotFoundError: It is not pinned there.
    """
    owner = owner_of(device_id, model)
    standing = session.exec(select(Intent).where(Intent.device_id == device_id, Intent.owner == owner)).first()
    if standing is None:
        raise NotFoundError(f"{device_id} is not pinned to a version of {model}", "list pins: shoal devices pins")
    session.expunge(standing)
    drop_intents(session, device_id, section=f"{MODELS}{model}", owner=owner)
    text = f"{device_id} is pinned to no version of {model} any more, by {by}"
    record_event(session, "device_unpinned", text, subject=f"model/{model}", device_id=device_id)
    return standing


def pins(session: Session, model: str = "") -> Sequence[Intent]:
    """Return the pins that stand, of one model if it is named."""
    wanted = select(Intent).where(col(Intent.kind) == PIN).order_by(Intent.section, Intent.device_id)
    return session.exec(wanted.where(Intent.section == f"{MODELS}{model}") if model else wanted).all()


def pinned_devices(session: Session, model: str, now: datetime) -> set[str]:
    """Return the devices that no rollout of a model reaches."""
    standing = select(Intent.device_id).where(col(Intent.kind) == PIN, Intent.section == f"{MODELS}{model}")
    return set(session.exec(standing.where(col(Intent.until).is_(None) | (col(Intent.until) > now))))


def owner_of(device_id: str, model: str) -> str:
    """Return under whose name a pin stands."""
    return f"{_PREFIX}{device_id}/{model}"


def _device(session: Session, device_id: str) -> Device:
    device = session.get(Device, device_id)
    if device is None:
        raise NotFoundError(f"no device {device_id}", "list them: shoal devices list")
    if device.revoked_at is not None:
        raise ConflictError(f"pinning {device_id}: it was revoked, and can be told nothing", "choose another device")
    return device
