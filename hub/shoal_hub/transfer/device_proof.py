"""Who asks for an artifact over HTTPS: a device by a request that its key has signed just now, for what it is told."""

from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from shoal_contract.device_request import ArtifactRequest, envelope_of, verify_request
from shoal_contract.envelope import named_keys
from shoal_contract.errors import EnvelopeError, MessageError
from shoal_contract.limits import MAX_DEVICE_REQUEST_BYTES
from shoal_hub.devices.certificates import DeviceCertificate, find_certificate, load_key
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ClockError, RefusedError, UnauthenticatedError
from shoal_hub.transfer.needs import needs_of

_BY_AGENT = "let shoal-agent make the request"
_RENEW = "let the agent renew its certificate, or enrol the device again"


class SignedRequest(NamedTuple):
    """A request, and the certificate of the key that has signed it; what it asks for is not checked yet."""

    certificate: DeviceCertificate
    request: ArtifactRequest


def read_request(session: Session, authorization: str) -> SignedRequest:
    """Return what a device has signed.

    Args:
        session: An open session.
        authorization: The header as it came.

    Raises:
        UnauthenticatedError: The header is no signed request by a key that the hub knows.
    """
    try:
        envelope = envelope_of(authorization)
        found = next(filter(None, (find_certificate(session, one) for one in _names(envelope))), None)
        if found is None:
            raise UnauthenticatedError("fetching an artifact: the hub knows no device with this key", _RENEW)
        keys = {found.key_sha256: load_key(found.public_key)}
        return SignedRequest(found, verify_request(envelope, keys))
    except (EnvelopeError, MessageError) as error:
        raise UnauthenticatedError(f"fetching an artifact: {error}", _BY_AGENT) from error


def check_request(session: Session, signed: SignedRequest, sha256: str, clock_s: float, now: datetime) -> str:
    """Return the id of the device that may have a part of an artifact.

    Args:
        session: An open session.
        signed: What came of `read_request`.
        sha256: What is asked for.
        clock_s: How far the request's time may be from the hub's, in seconds.
        now: The clock.

    Raises:
        RefusedError: The key speaks for no device any more, or the device is not told of the artifact.
        ClockError: The request was not signed at about this time.
    """
    certificate, request = signed
    _check_device(session, certificate, now)
    if (request.device_id, request.sha256) != (certificate.device_id, sha256):
        raise RefusedError(f"fetching {sha256[:12]}: what was signed is for another device or artifact", _BY_AGENT)
    if abs((request.at - now).total_seconds()) > clock_s:
        raise ClockError(
            f"fetching {sha256[:12]}: it was signed at {request.at:%Y-%m-%d %H:%M:%S} UTC, the hub's clock says "
            f"{now:%Y-%m-%d %H:%M:%S} UTC",
            "sign again with the hub's time (the header Date), and mend the device's clock",
        )
    if sha256 not in needs_of(session, certificate.device_id, now):  # the same answer whether or not there is such one
        raise RefusedError(
            f"fetching {sha256[:12]}: the desired state of {certificate.device_id} does not lead to it",
            "nothing to do: the agent goes by its newest desired state",
        )
    return certificate.device_id


def _names(envelope: bytes) -> list[str]:
    """Return the one key that a request names, if it is a name at all."""
    names = named_keys(envelope, MAX_DEVICE_REQUEST_BYTES)[:1]
    return [name for name in names if name.isascii() and "\x00" not in name]


def _check_device(session: Session, certificate: DeviceCertificate, now: datetime) -> None:
    device_id = certificate.device_id
    if session.get_one(Device, device_id).revoked_at is not None:
        raise RefusedError(f"fetching an artifact: device {device_id} was revoked", "enrol the board as a new one")
    if certificate.retired_at is not None or now > certificate.expires_at:
        raise RefusedError(f"fetching an artifact: this certificate of {device_id} has ended", _RENEW)
