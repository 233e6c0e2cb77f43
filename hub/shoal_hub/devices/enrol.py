"""Enrolment: a key that something lets in becomes a device with an id and a certificate.

A device whose answer was lost sends the same request again and gets the same certificate: one key, one certificate.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from shoal_contract.encryption import parse_encryption_key
from shoal_contract.enrolment import EnrolmentPending, EnrolmentRequest
from shoal_contract.errors import EncryptionError
from shoal_contract.ids import new_device_id
from shoal_hub.database import announce
from shoal_hub.devices.admission import Admission, Asking, admit_by_token, admit_without_token
from shoal_hub.devices.admission_tables import AuthorisedKey
from shoal_hub.devices.certificate_request import key_fingerprint, read_certificate_request
from shoal_hub.devices.certificates import DeviceCertificate, find_certificate, make_row, use_certificate
from shoal_hub.devices.desired_tables import ENROLLED
from shoal_hub.devices.enrolment_tokens import find_token, take_use
from shoal_hub.devices.groups import make_home
from shoal_hub.devices.revocation import check_key_is_welcome
from shoal_hub.devices.tables import Device, EnrolmentTokenRow, EnrolmentUse
from shoal_hub.errors import ConflictError, InvalidInputError, RefusedError
from shoal_hub.events.record import record_event
from shoal_hub.settings import Settings
from shoal_hub.trust.ca import DeviceAuthority

_AGAIN = "move the device's identity folder away, so that it makes a new key, and enrol it again"


class Enrolled(NamedTuple):
    """A device, its certificate, and the token that it brought, if any."""

    device: Device
    certificate_pem: str
    token: EnrolmentTokenRow | None


def enrol(
    session: Session,
    authority: DeviceAuthority,
    settings: Settings,
    request: EnrolmentRequest,
    now: datetime,
    address: str = "",
) -> Enrolled | EnrolmentPending:
    """Enrol a device, recognise one that repeats its request, or have it wait for an operator.

    Raises:
        RefusedError: Nothing lets it in, its certificate has ended or was replaced, or the device was revoked.
        InvalidInputError: The certificate signing request is not acceptable.
        TooManyRequestsError: Too many devices wait for an operator.
        ConflictError: The same request is being answered at this moment.
    """
    csr = read_certificate_request(request.csr_pem)
    fingerprint = key_fingerprint(csr)
    token = find_token(session, request.token) if request.token else None
    check_key_is_welcome(session, fingerprint)
    known = find_certificate(session, fingerprint)
    if known is not None:
        return _again(session, known, token, request, now)
    if token is not None:
        take_use(session, token, now)
        admission: Admission | EnrolmentPending = admit_by_token(token, request)
    else:
        admission = admit_without_token(session, settings, Asking(request, fingerprint, address), now)
    if isinstance(admission, EnrolmentPending):
        _flush(session)
        return admission
    device = _make_device(admission, request, now)
    life = timedelta(seconds=settings.certificate_life_s)
    row = make_row(device.id, authority.issue(csr, device.id, life), now, authority.fingerprint)
    use_certificate(device, row)
    _add(session, device, row)
    _note(session, device, token, admission, now)
    return Enrolled(device, row.certificate_pem, token)


def _again(
    session: Session,
    known: DeviceCertificate,
    token: EnrolmentTokenRow | None,
    request: EnrolmentRequest,
    now: datetime,
) -> Enrolled:
    """Answer a repetition: what the key was given, and never more than that."""
    device = session.get_one(Device, known.device_id)
    if known.retired_at is not None:
        raise RefusedError(f"enrolling: device {device.id} has a newer key than this one", _AGAIN)
    if now >= known.expires_at:
        raise RefusedError(
            f"enrolling: this key's certificate ended at {known.expires_at:%Y-%m-%d %H:%M} UTC",
            f"let its agent renew it (shoal-agent run does), or {_AGAIN}",
        )
    if token is not None and device.encryption_key is None:
        # Nothing in the CSR vouches for this key: a repeated request replaces none. The device's own, signed word does.
        device.encryption_key = _encryption_key(request)
        session.add(device)
    return Enrolled(device, known.certificate_pem, token)


def _make_device(admission: Admission, request: EnrolmentRequest, now: datetime) -> Device:
    return Device(
        id=new_device_id(),
        name=admission.name or request.name,
        group=admission.group,
        tags=admission.tags,
        public_key_sha256="",
        certificate_serial="",
        encryption_key=_encryption_key(request),
        enrolled_at=now,
        hardware=request.hardware.model_dump(mode="json"),
    )


def _add(session: Session, device: Device, row: DeviceCertificate) -> None:
    session.add(device)
    _flush(session)
    session.add(row)
    _flush(session)


def _note(
    session: Session, device: Device, token: EnrolmentTokenRow | None, admission: Admission, now: datetime
) -> None:
    key = device.public_key_sha256
    if token is not None:
        session.add(EnrolmentUse(token_id=token.id, public_key_sha256=key, device_id=device.id, used_at=now))
    elif (authorised := session.get(AuthorisedKey, key)) is not None:
        authorised.device_id = device.id
        session.add(authorised)
    make_home(session, device.group, by=admission.why)
    model = (device.hardware or {}).get("model", "")
    message = f"{device.name or device.id} ({model}) enrolled: {admission.why}"
    record_event(session, "device_enrolled", message, device_id=device.id, subject=f"device/{device.id}")
    announce(session, "devices")
    announce(session, ENROLLED)


def _flush(session: Session) -> None:
    try:
        session.flush()
    except IntegrityError as error:  # PostgreSQL works on two requests of one key at once: the other was first
        raise ConflictError("enrolling: this key is being enrolled at this moment", "ask again in a second") from error


def _encryption_key(request: EnrolmentRequest) -> str | None:
    """Return the key that versions' keys are wrapped for, if the device has one."""
    if request.encryption_key is None:
        return None
    try:
        parse_encryption_key(request.encryption_key)
    except EncryptionError as error:
        raise InvalidInputError(f"enrolling: {error}", "let shoal-agent make the key") from error
    return request.encryption_key
