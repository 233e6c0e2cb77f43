"""Keys of encrypted versions, wrapped for the devices that are to serve them.

HPKE gives other bytes each time, so what was wrapped once is kept: a state that is composed again is the same state.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlmodel import Field, Session, SQLModel, col, delete, select, update

from shoal_contract.desired import DesiredModel
from shoal_contract.encryption import KeyUse, WrappedKey, key_sha256, parse_encryption_key, wrap_key
from shoal_contract.errors import EncryptionError
from shoal_contract.telemetry import EncryptionKeyReplaced
from shoal_hub.audit.actor import DEVICE_ROLE, Actor
from shoal_hub.audit.record import record
from shoal_hub.database import UNAUDITED, UtcDateTime
from shoal_hub.devices.intents import mark_stale
from shoal_hub.devices.tables import Device
from shoal_hub.events.record import record_event
from shoal_hub.registry.encrypt import VersionRef, open_version_key
from shoal_hub.registry.tables import Version
from shoal_hub.trust.version_keys import VersionKeys


class WrappedKeyRow(SQLModel, table=True):
    """One version's key as one device gets it, by the encryption key that opens it."""

    __tablename__ = "wrapped_keys"
    __table_args__ = {"info": UNAUDITED}  # made of the intents and of the device's key, both audited

    device_id: str = Field(primary_key=True, foreign_key="devices.id")
    version_id: int = Field(primary_key=True, foreign_key="versions.id")
    recipient: str = Field(primary_key=True, description="SHA-256 of the device's encryption key")
    data: str
    created_at: datetime = Field(sa_type=UtcDateTime)


def encrypted_versions(session: Session) -> dict[tuple[str, int], VersionRef]:
    """Return every encrypted version by model and number."""
    wanted = select(Version.id, Version.model, Version.number).where(col(Version.is_encrypted))
    rows = session.exec(wanted).all()
    return {(model, number): VersionRef(row_id or 0, model, number) for row_id, model, number in rows}


def give_keys(
    session: Session,
    keys: VersionKeys,
    device_id: str,
    models: Mapping[str, DesiredModel],
    encrypted: Mapping[tuple[str, int], VersionRef],
    now: datetime,
) -> dict[str, DesiredModel]:
    """Return what a device is to serve, that of encrypted versions with the version's key for this device.

    A revoked device, and one that has told no encryption key, get none.
    """
    given = dict(models)
    wanted = [(name, model.version) for name, model in models.items()]
    versions = [encrypted[one] for one in wanted if one in encrypted]
    device = session.get_one(Device, device_id) if versions else None
    if device is None or device.encryption_key is None or device.revoked_at is not None:
        return given
    for version in versions:
        key = _wrapped(session, keys, device.id, device.encryption_key, version, now)
        given[version.model] = models[version.model].model_copy(update={"key": key})
    return given


def take_encryption_key(session: Session, device_id: str, body: EncryptionKeyReplaced, now: datetime) -> None:
    """Wrap for another encryption key of a device from now on; one that is no key is told and changes nothing.

    Who can open models from now on is more than a report, so it is audited.
    """
    try:
        recipient = key_sha256(parse_encryption_key(body.encryption_key))
    except EncryptionError as error:
        text = f"{device_id} told an encryption key that is none: {error}"
        record_event(session, "encryption_key_refused", text, device_id=device_id, severity="error", at=now)
        return
    is_meant = col(Device.id) == device_id, col(Device.revoked_at).is_(None)
    device = session.exec(select(Device.name, Device.encryption_key).where(*is_meant)).first()
    if device is None:
        return
    name, former_key = device
    session.connection().execute(update(Device).where(*is_meant).values(encryption_key=body.encryption_key))
    former = col(WrappedKeyRow.device_id) == device_id, col(WrappedKeyRow.recipient) != recipient
    session.connection().execute(delete(WrappedKeyRow).where(*former))
    mark_stale(session, device_id)
    before = key_sha256(parse_encryption_key(former_key)) if former_key is not None else None
    if before != recipient:
        actor, action = Actor(device_id, name, DEVICE_ROLE), "devices.replace_encryption_key"
        record(session, actor, action, f"devices/{device_id}", _key_id(before), _key_id(recipient))


def _key_id(sha256: str | None) -> dict[str, str]:
    return {"encryption_key_sha256": sha256} if sha256 is not None else {}


def _wrapped(
    session: Session, keys: VersionKeys, device_id: str, encryption_key: str, version: VersionRef, now: datetime
) -> WrappedKey | None:
    public = parse_encryption_key(encryption_key)
    recipient = key_sha256(public)
    row = session.get(WrappedKeyRow, (device_id, version.id, recipient))
    if row is not None:
        return WrappedKey(recipient=recipient, data=row.data)
    version_key = open_version_key(session, keys, version)
    if version_key is None:
        return None
    wrapped = wrap_key(version_key, public, KeyUse(device_id, version.model, version.number))
    made = WrappedKeyRow(
        device_id=device_id, version_id=version.id, recipient=recipient, data=wrapped.data, created_at=now
    )
    session.add(made)
    session.flush()
    return wrapped
