"""Mutual TLS 1.3 between two devices: each shows its own certificate, which is good for a client only.

Such a certificate can pose neither as the broker nor as the hub, and that is worth more than a plain server context
here. OpenSSL verifies a cache's neighbours as it does any client; what a cache shows is verified by `device_of`, in the
handshake and before the neighbour has shown anything of its own. Dates count by trusted time on both sides.
"""

import hashlib
import ssl
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from shoal_agent.certificates import parse_certificates, parse_der_certificate
from shoal_agent.identity import PAIR, Identity
from shoal_agent.tls import NO_CHECK_TIME

if TYPE_CHECKING:
    from cryptography import x509


def listening_context(identity: Identity) -> ssl.SSLContext:
    """Return the context for one connection to this device: whoever connects shows a certificate of the hub's CA.

    Raises:
        OSError: Key or certificates can not be read; an `ssl.SSLError` is one, too.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags = ssl.VerifyFlags(int(context.verify_flags) | NO_CHECK_TIME)  # `device_of` looks at dates
    context.load_verify_locations(cafile=str(identity.ca_path))
    return _between_devices(context, identity)


def asking_context(identity: Identity, now: Callable[[], datetime], device_id: str) -> ssl.SSLContext:
    """Return the context for one connection to another device, which has to show that device's certificate.

    Raises:
        OSError: Key or certificates can not be read; an `ssl.SSLError` is one, too.
    """

    def check(certificate: bytes | None) -> None:
        found = device_of(certificate, identity.ca_path.read_bytes(), now())
        if found != device_id:
            raise _refused(f"it is the one of {found}, and not of {device_id}")

    return _asking(identity, check)


def asking_server_context(identity: Identity, certificate_sha256: str) -> ssl.SSLContext:
    """Return the context for one connection to a server that has to show just this certificate.

    Raises:
        OSError: Key or certificates can not be read; an `ssl.SSLError` is one, too.
    """

    def check(certificate: bytes | None) -> None:
        found = hashlib.sha256(certificate or b"").hexdigest()
        if found != certificate_sha256:
            raise _refused(f"its SHA-256 is {found[:12]}…, and not {certificate_sha256[:12]}…")

    return _asking(identity, check)


def _asking(identity: Identity, check: Callable[[bytes | None], None]) -> ssl.SSLContext:
    class Checked(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            # Our certificate waits to be sent: whoever has failed here does not learn who has asked.
            check(self.getpeercert(binary_form=True))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # OpenSSL would want a server's certificate; `check` wants the right one
    context.sslobject_class = Checked
    return _between_devices(context, identity)


def device_of(certificate: bytes | None, ca_pem: bytes, now: datetime) -> str:
    """Return the id of the device whose certificate this is.

    Args:
        certificate: What was shown and whose key was proved in the handshake, as DER.
        ca_pem: The CA certificates by which the hub is known.
        now: Trusted time. It may be behind, so a certificate that begins later says nothing against itself.

    Raises:
        ssl.SSLCertVerificationError: It is none that this hub has given to a device, or it has expired.
    """
    from cryptography import x509  # 1 MB that only devices of a site need
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    try:
        found = parse_der_certificate(certificate or b"")
        issuers = [one for one in parse_certificates(ca_pem) if one.not_valid_after_utc >= now]
    except ValueError as error:
        raise _refused(str(error)) from error
    if not any(_has_issued(one, found) for one in issuers):
        raise _refused("no CA of this device's hub has signed it")
    if found.not_valid_after_utc < now:
        raise _refused(f"it expired at {found.not_valid_after_utc}, and it is {now}")
    usages = [one.value for one in found.extensions if isinstance(one.value, x509.ExtendedKeyUsage)]
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not any(ExtendedKeyUsageOID.CLIENT_AUTH in usage for usage in usages) or len(names) != 1:
        raise _refused("it is no device's")
    return str(names[0].value)


def _between_devices(context: ssl.SSLContext, identity: Identity) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(identity.folder / PAIR)
    return context


def _has_issued(issuer: "x509.Certificate", certificate: "x509.Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _refused(reason: str) -> ssl.SSLCertVerificationError:
    return ssl.SSLCertVerificationError(1, f"the other device's certificate was refused: {reason}")
