"""Every certificate that a device was given: which keys speak for it, and which serials a revocation names."""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import LargeBinary
from sqlmodel import Field, Session, SQLModel, col, select

from shoal_contract.device_signature import device_key_id
from shoal_hub.database import UtcDateTime

DeviceKeys: TypeAlias = dict[str, ec.EllipticCurvePublicKey]
_QUERY_ROWS: Final = 500
_CACHED_KEYS: Final = 20_000
"""Reading a key costs as much as a signature's check: the keys of a fleet's size stay in memory (about 1 KB each)."""


class DeviceCertificate(SQLModel, table=True):
    """One certificate of one device. A renewal adds a row; the one before stays good until it is retired."""

    __tablename__ = "device_certificates"

    serial: str = Field(primary_key=True, description="hexadecimal")
    device_id: str = Field(foreign_key="devices.id", index=True)
    key_sha256: str = Field(index=True, description="id of the key in the device's envelopes")
    public_key: bytes = Field(sa_type=LargeBinary, description="SubjectPublicKeyInfo, DER")
    issued_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    retired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When a later certificate took its place, or the device was revoked: its key speaks for the device no longer."""


def add_certificate(session: Session, device_id: str, certificate: x509.Certificate, now: datetime) -> str:
    """Note a certificate that was just issued; return its serial."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(f"noting a certificate of {device_id}: its key is a {type(key).__name__}, P-256 was expected")
    row = DeviceCertificate(
        serial=f"{certificate.serial_number:x}",
        device_id=device_id,
        key_sha256=device_key_id(key),
        public_key=key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        issued_at=now,
        expires_at=certificate.not_valid_after_utc,
    )
    session.add(row)
    return row.serial


def device_keys(session: Session, device_ids: Iterable[str]) -> dict[str, DeviceKeys]:
    """Return the keys that speak for each device, by their ids in envelopes; devices without one are left out.

    A certificate's expiry does not matter here: a device that was off for long still says the truth.
    """
    found: dict[str, DeviceKeys] = {}
    ordered = sorted(device_ids)
    columns = (DeviceCertificate.device_id, DeviceCertificate.key_sha256, DeviceCertificate.public_key)
    for start in range(0, len(ordered), _QUERY_ROWS):
        part = ordered[start : start + _QUERY_ROWS]
        wanted = select(*columns).where(
            col(DeviceCertificate.device_id).in_(part), col(DeviceCertificate.retired_at).is_(None)
        )
        for device_id, key_id, encoded in session.exec(wanted).all():
            found.setdefault(device_id, {})[key_id] = _load(encoded)
    return found


@lru_cache(maxsize=_CACHED_KEYS)
def _load(encoded: bytes) -> ec.EllipticCurvePublicKey:
    key = serialization.load_der_public_key(encoded)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(f"reading a device's key: a {type(key).__name__} found, P-256 was expected")
    return key
