"""Renewal: a device that has proved its present key gets a certificate for its next one.

The proof is an envelope by the present key; the certificate's end does not matter within a grace time, so that a device
that was off for long comes back. A renewal that somebody replays gives nothing away: the answer is the certificate of a
key that the device alone has, and the same one each time. Its time bounds how long that can go on; a device whose clock
is off is told so, and signs again with the hub's time.
"""

import json
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, select, update

from shoal_contract.enrolment import RenewalRequest
from shoal_contract.envelope import RENEWAL_TYPE, verify
from shoal_contract.errors import EnvelopeError, MessageError
from shoal_contract.wire import parse_message
from shoal_hub.database import announce
from shoal_hub.devices.certificate_request import key_fingerprint, read_certificate_request
from shoal_hub.devices.certificates import DeviceCertificate, find_certificate, load_key, make_row
from shoal_hub.devices.revocation import EXPIRY_SLACK, check_key_is_welcome
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ClockError, ConflictError, InvalidInputError, RefusedError, TooManyRequestsError
from shoal_hub.events.record import record_event
from shoal_hub.settings import Settings
from shoal_hub.trust.ca import DeviceAuthority

MAX_RENEWAL_BYTES: Final = 16 * 1024
_HOUR: Final = timedelta(hours=1)
_ENROL: Final = "enrol the device again: move its identity folder away and give it a new token"


class Renewed(NamedTuple):
    """The device, and the certificate (PEM) for its next key."""

    device: Device
    certificate_pem: str


def renew(session: Session, authority: DeviceAuthority, settings: Settings, envelope: bytes, now: datetime) -> Renewed:
    """Return the certificate for a device's next key. The present one stays good until the next has been used.

    Raises:
        InvalidInputError: The envelope, or the signing request in it, is not acceptable.
        ClockError: It was not made at about this time.
        RefusedError: The key speaks for no device, it or the next one was revoked, or its certificate
            ended too long ago.
        TooManyRequestsError: The device has got too many certificates in the last hour.
        ConflictError: The same request is being answered at this moment.
    """
    present = _present(session, envelope)
    request = _read(envelope, present)
    device = session.get_one(Device, present.device_id)
    _check_device(device, present, settings, now)
    _check_clock(request, settings, now)
    csr = read_certificate_request(request.csr_pem)
    check_key_is_welcome(session, key_fingerprint(csr), doing="renewing")
    given = _given_before(session, present, key_fingerprint(csr), now)
    if given is not None:
        return Renewed(device, given.certificate_pem)
    _check_rate(session, present.device_id, settings, now)
    _forget(session, present, now)
    life = timedelta(seconds=settings.certificate_life_s)
    return Renewed(device, _issue(session, authority, device.id, csr, life, now))


def _present(session: Session, envelope: bytes) -> DeviceCertificate:
    """Return the certificate of the key that the envelope claims to be by; nothing of it is believed yet."""
    if len(envelope) > MAX_RENEWAL_BYTES:
        raise InvalidInputError(f"renewing: {len(envelope)} bytes found, at most {MAX_RENEWAL_BYTES} allowed", _ENROL)
    try:
        key_id = json.loads(envelope)["signatures"][0]["keyid"]
    except (ValueError, LookupError, TypeError, RecursionError):
        key_id = None
    if not isinstance(key_id, str) or "\x00" in key_id or not key_id.isascii():
        raise InvalidInputError("renewing: the body is no signed envelope", "let shoal-agent make the request")
    found = find_certificate(session, key_id)
    if found is None:
        raise RefusedError(f"renewing: the hub knows no device with the key {key_id[:64]}", _ENROL)
    return found


def _read(envelope: bytes, present: DeviceCertificate) -> RenewalRequest:
    try:
        keys = {present.key_sha256: load_key(present.public_key)}
        payload = verify(envelope, RENEWAL_TYPE, keys, MAX_RENEWAL_BYTES).payload
        request = parse_message(RenewalRequest, payload, MAX_RENEWAL_BYTES)
    except (EnvelopeError, MessageError) as error:
        raise InvalidInputError(f"renewing: {error}", "let shoal-agent make the request") from error
    if request.device_id != present.device_id:
        raise RefusedError(f"renewing: the key is not one of device {request.device_id}", _ENROL)
    return request


def _check_device(device: Device, present: DeviceCertificate, settings: Settings, now: datetime) -> None:
    if device.revoked_at is not None:
        raise RefusedError(f"renewing: device {device.id} was revoked", _ENROL)
    if present.retired_at is not None:
        raise RefusedError(f"renewing: device {device.id} has used a newer key than this one", _ENROL)
    if now > present.expires_at + timedelta(seconds=settings.renew_grace_s):
        raise RefusedError(
            f"renewing: the certificate ended at {present.expires_at:%Y-%m-%d %H:%M} UTC, more than "
            f"SHOAL_RENEW_GRACE_S ({settings.renew_grace_s:g} s) ago",
            f"raise that setting at the hub, or {_ENROL}",
        )


def _check_clock(request: RenewalRequest, settings: Settings, now: datetime) -> None:
    if abs((request.at - now).total_seconds()) > settings.renew_clock_s:
        raise ClockError(
            f"renewing: it was signed at {request.at:%Y-%m-%d %H:%M:%S} UTC, the hub's clock says "
            f"{now:%Y-%m-%d %H:%M:%S} UTC",
            "sign again with the hub's time (the header Date), and mend the device's clock",
        )


def _given_before(
    session: Session, present: DeviceCertificate, key_sha256: str, now: datetime
) -> DeviceCertificate | None:
    """Return what the next key was given already, for a device whose answer was lost."""
    if key_sha256 == present.key_sha256:
        raise InvalidInputError("renewing: the request is for the present key", "make a new key for each renewal")
    given = find_certificate(session, key_sha256)
    if given is None:
        return None
    if given.device_id != present.device_id or given.retired_at is not None:
        raise RefusedError("renewing: the next key was used before", "make a new key for each renewal")
    if now < given.expires_at:
        return given
    session.delete(given)
    session.flush()
    return None


def _check_rate(session: Session, device_id: str, settings: Settings, now: datetime) -> None:
    issued = select(func.count()).where(
        col(DeviceCertificate.device_id) == device_id, col(DeviceCertificate.issued_at) > now - _HOUR
    )
    if session.exec(issued.select_from(DeviceCertificate)).one() >= settings.renewals_per_hour:
        raise TooManyRequestsError(
            f"renewing: device {device_id} has got {settings.renewals_per_hour} certificates within an hour",
            "look why it asks so often; the bound is SHOAL_RENEWALS_PER_HOUR at the hub",
            retry_after_s=_HOUR.total_seconds() / settings.renewals_per_hour,
        )


def _forget(session: Session, present: DeviceCertificate, now: datetime) -> None:
    """Retire successors that were never used, and drop what has been retired and has ended: rows stay few."""
    mine = col(DeviceCertificate.device_id) == present.device_id
    unused = (mine, col(DeviceCertificate.retired_at).is_(None), col(DeviceCertificate.serial) != present.serial)
    later = col(DeviceCertificate.issued_at) >= present.issued_at
    session.exec(update(DeviceCertificate).where(*unused, later).values(retired_at=now))
    ended = col(DeviceCertificate.expires_at) < now - EXPIRY_SLACK
    session.exec(delete(DeviceCertificate).where(mine, col(DeviceCertificate.retired_at).is_not(None), ended))


def _issue(
    session: Session,
    authority: DeviceAuthority,
    device_id: str,
    csr: x509.CertificateSigningRequest,
    life: timedelta,
    now: datetime,
) -> str:
    certificate = authority.issue(csr, device_id, life)
    row = make_row(device_id, certificate, now, authority.fingerprint)
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:  # PostgreSQL works on two requests of one key at once: the other was first
        raise ConflictError("renewing: this key is being certified at this moment", "ask again in a second") from error
    message = f"{device_id} was given the certificate {row.serial}, good until {row.expires_at:%Y-%m-%d %H:%M} UTC"
    record_event(session, "renewal_issued", message, device_id=device_id, subject=f"device/{device_id}")
    announce(session, "devices")
    return row.certificate_pem
