"""Enrolment: a token and a key become a device with an id and a certificate.

A device whose answer was lost sends the same request again and gets the same id, with a new certificate.
"""

from datetime import datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import Session

from shoal_contract.enrolment import EnrolmentRequest
from shoal_contract.ids import new_device_id
from shoal_hub.database import announce
from shoal_hub.devices.certificate_request import key_fingerprint, read_certificate_request
from shoal_hub.devices.certificates import add_certificate
from shoal_hub.devices.enrolment_tokens import find_token, take_use
from shoal_hub.devices.revocation import ENROL_AGAIN, check_key_is_welcome
from shoal_hub.devices.tables import Device, EnrolmentTokenRow, EnrolmentUse
from shoal_hub.errors import RefusedError
from shoal_hub.events.record import record_event
from shoal_hub.trust.ca import DeviceAuthority


class Enrolled(NamedTuple):
    """The device, the certificate that it gets, and the token that let it in."""

    device: Device
    certificate_pem: str
    token: EnrolmentTokenRow


def enrol(session: Session, authority: DeviceAuthority, request: EnrolmentRequest, now: datetime) -> Enrolled:
    """Enrol a device, or recognise one that repeats its request.

    Raises:
        RefusedError: The token is unknown, revoked, used or expired, or the device was revoked.
        InvalidInputError: The certificate signing request is not acceptable.
    """
    csr = read_certificate_request(request.csr_pem)
    token = find_token(session, request.token)
    check_key_is_welcome(session, key_fingerprint(csr))
    use = session.get(EnrolmentUse, (token.id, key_fingerprint(csr)))
    device = _add_device(session, token, request, key_fingerprint(csr), now) if use is None else _known(session, use)
    certificate = authority.issue(csr, device.id)
    device.certificate_serial = add_certificate(session, device.id, certificate, now)
    session.add(device)
    announce(session, "devices")
    return Enrolled(device, certificate.public_bytes(Encoding.PEM).decode(), token)


def _add_device(
    session: Session, token: EnrolmentTokenRow, request: EnrolmentRequest, fingerprint: str, now: datetime
) -> Device:
    take_use(session, token, now)
    device = Device(
        id=new_device_id(),
        name=request.name or token.label,
        public_key_sha256=fingerprint,
        certificate_serial="",
        enrolled_at=now,
        hardware=request.hardware.model_dump(mode="json"),
    )
    session.add(device)
    session.flush()
    session.add(EnrolmentUse(token_id=token.id, public_key_sha256=fingerprint, device_id=device.id, used_at=now))
    record_event(
        session,
        "device_enrolled",
        f"{device.name or device.id} ({request.hardware.model}) enrolled with token {token.id}",
        device_id=device.id,
        subject=f"device/{device.id}",
    )
    return device


def _known(session: Session, use: EnrolmentUse) -> Device:
    device = session.get_one(Device, use.device_id)
    if device.revoked_at is not None:
        raise RefusedError(f"enrolling: device {device.id} was revoked", ENROL_AGAIN)
    return device
