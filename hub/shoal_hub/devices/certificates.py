"""Every certificate that a device was given: which keys speak for it, and which serials a revocation names."""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Index, LargeBinary, String, bindparam, distinct, func, text
from sqlalchemy import select as select_columns
from sqlmodel import Field, Session, SQLModel, col, select, update

from shoal_contract.device_signature import device_key_id
from shoal_hub.bulk import Query
from shoal_hub.database import UtcDateTime, announce, as_texts, is_among
from shoal_hub.devices.tables import Device
from shoal_hub.events.record import record_event

DeviceKeys: TypeAlias = dict[str, ec.EllipticCurvePublicKey]
_CACHED_KEYS: Final = 20_000
"""Reading a key costs as much as a signature's check: the keys of a fleet's size stay in memory (about 1 KB each)."""


class DeviceCertificate(SQLModel, table=True):
    """One certificate of one device. A renewal adds a row; the one before stays good until it is retired.

    A key gets one certificate at a time, and whoever asks again with the same key gets the same one.
    """

    __tablename__ = "device_certificates"
    __table_args__ = (
        Index(
            "ix_device_certificates_retired",
            "retired_at",
            sqlite_where=text("retired_at IS NOT NULL"),
            postgresql_where=text("retired_at IS NOT NULL"),
        ),
    )

    serial: str = Field(primary_key=True, description="hexadecimal")
    device_id: str = Field(foreign_key="devices.id", index=True)
    key_sha256: str = Field(unique=True, index=True, description="id of the key in the device's envelopes")
    public_key: bytes = Field(sa_type=LargeBinary, description="SubjectPublicKeyInfo, DER")
    authority: str = Field(default="", description="fingerprint of the CA that signed it")
    certificate_pem: str = ""
    issued_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    retired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When a later certificate took its place, or the device was revoked: its key speaks for the device no longer."""


def make_row(device_id: str, certificate: x509.Certificate, now: datetime, authority: str = "") -> DeviceCertificate:
    """Return the row of a certificate that was just issued by the CA with the fingerprint `authority`."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(f"noting a certificate of {device_id}: its key is a {type(key).__name__}, P-256 was expected")
    return DeviceCertificate(
        serial=f"{certificate.serial_number:x}",
        device_id=device_id,
        key_sha256=device_key_id(key),
        public_key=key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        authority=authority,
        certificate_pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        issued_at=now,
        expires_at=certificate.not_valid_after_utc,
    )


def find_certificate(session: Session, key_sha256: str) -> DeviceCertificate | None:
    """Return the certificate of a key."""
    return session.exec(select(DeviceCertificate).where(DeviceCertificate.key_sha256 == key_sha256)).first()


def list_certificates(session: Session, device_id: str) -> list[DeviceCertificate]:
    """Return every certificate of a device, oldest first."""
    wanted = select(DeviceCertificate).where(DeviceCertificate.device_id == device_id)
    return list(session.exec(wanted.order_by(col(DeviceCertificate.issued_at), col(DeviceCertificate.serial))))


def retire_older(session: Session, device_id: str, key_sha256: str, now: datetime) -> int:
    """Take note that a device uses the key `key_sha256`: what it had before speaks for it no longer.

    For whoever sees the device's signatures: call it when a device that has more than one key signs with one of them.

    Returns:
        How many certificates were retired; 0 where this key's is the oldest that stands.
    """
    used = find_certificate(session, key_sha256)
    if used is None or used.device_id != device_id or used.retired_at is not None:
        return 0
    older = (
        update(DeviceCertificate)
        .where(
            col(DeviceCertificate.device_id) == device_id,
            col(DeviceCertificate.retired_at).is_(None),
            col(DeviceCertificate.issued_at) < used.issued_at,
        )
        .values(retired_at=now)
    )
    count = session.exec(older).rowcount
    if count:
        device = session.get_one(Device, device_id)
        use_certificate(device, used)
        session.add(device)
        message = f"{device_id} uses its renewed certificate {used.serial}, good until {used.expires_at:%Y-%m-%d}"
        record_event(session, "certificate_renewed", message, device_id=device_id, subject=f"device/{device_id}")
        announce(session, "devices")
    return count


def use_certificate(device: Device, used: DeviceCertificate) -> None:
    """Note a certificate as the one that a device has."""
    device.certificate_serial = used.serial
    device.certificate_expires_at = used.expires_at
    device.public_key_sha256 = used.key_sha256


def count_of_other_authorities(session: Session, authority: str, now: datetime) -> int:
    """Return how many devices have a certificate that stands and is not by the CA with this fingerprint."""
    wanted = (
        select(func.count(distinct(col(DeviceCertificate.device_id))))
        .join(Device, col(Device.id) == col(DeviceCertificate.device_id))
        .where(
            col(DeviceCertificate.retired_at).is_(None),
            col(DeviceCertificate.expires_at) > now,
            col(DeviceCertificate.authority) != authority,
            col(Device.revoked_at).is_(None),
        )
    )
    return session.exec(wanted).one()


def device_keys(session: Session, device_ids: Iterable[str]) -> dict[str, DeviceKeys]:
    """Return the keys that speak for each device, by their ids in envelopes; devices without one are left out.

    A certificate's expiry does not matter here: a device that was off for long still says the truth.
    """
    found: dict[str, DeviceKeys] = {}
    for device_id, key_id, encoded in _KEYS.rows(session, ids=as_texts(device_ids)):
        found.setdefault(device_id, {})[key_id] = load_key(encoded)
    return found


@lru_cache(maxsize=_CACHED_KEYS)
def load_key(encoded: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key that a row of this table holds."""
    key = serialization.load_der_public_key(encoded)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(f"reading a device's key: a {type(key).__name__} found, P-256 was expected")
    return key


_KEYS: Final = Query(
    select_columns(
        col(DeviceCertificate.device_id), col(DeviceCertificate.key_sha256), col(DeviceCertificate.public_key)
    )
    .where(is_among(col(DeviceCertificate.device_id), bindparam("ids", type_=String())))
    .where(col(DeviceCertificate.retired_at).is_(None))
)
