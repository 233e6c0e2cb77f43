"""Who this device is: its keys, which never leave it, its certificate, and whom it trusts.

`<data>/identity/` holds `device.pem` (the key and its certificate, in one file so that one rename replaces both),
`ca.pem` and `hub.json`, written at enrolment; `encryption.pem`; before enrolment `key.pem`; during a renewal what
`shoal_agent.pairs` says.
"""

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shoal_agent.certificates import parse_certificates
from shoal_agent.clock import Clock
from shoal_agent.durable import make_folder, replace_file
from shoal_agent.encryption_key import load_or_make_encryption_key
from shoal_agent.errors import DiskError
from shoal_agent.tls import hub_context
from shoal_contract.device_signature import device_key_id
from shoal_contract.encryption import key_sha256
from shoal_contract.enrolment import EnrolmentResponse
from shoal_contract.errors import MessageError
from shoal_contract.wire import parse_message

MAX_IDENTITY_BYTES = 1024 * 1024
PAIR = "device.pem"


@dataclass(frozen=True)
class Identity:
    """An enrolled device's identity, as read from its folder."""

    folder: Path
    device_id: str
    broker_host: str
    broker_port: int
    api_url: str
    trust_root: bytes
    """TUF root metadata; all else that the device believes follows from it."""

    @property
    def ca_path(self) -> Path:
        """The CA certificates by which the hub is known."""
        return self.folder / "ca.pem"

    def tls_context(self, clock: Clock, pair: Path | None = None) -> ssl.SSLContext:
        """Return the context for mutual TLS with the broker now, trusting the hub's CA alone.

        Args:
            clock: Trusted time.
            pair: The file of key and certificate to show; without it, the present one.

        Raises:
            DiskError: Key or certificates are missing, unreadable or do not belong together.
        """
        context = self.hub_context(clock)
        try:
            context.load_cert_chain(pair or self.folder / PAIR)
        except OSError as error:
            raise _damaged(self.folder, error) from error
        return context

    def hub_context(self, clock: Clock) -> ssl.SSLContext:
        """Return the context for HTTPS with the hub now: the same trust, and no certificate of our own.

        Raises:
            DiskError: The CA's certificate is missing or damaged.
        """
        try:
            context = hub_context(self.ca_path, clock)
        except OSError as error:
            raise _damaged(self.folder, error) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


class CertificateFacts(NamedTuple):
    """What a certificate says; the serial as hexadecimal digits."""

    serial: str
    starts_at: datetime
    expires_at: datetime


def load_identity(folder: Path) -> Identity:
    """Read the identity of an enrolled device.

    Raises:
        DiskError: The device is not enrolled, or the folder is damaged.
    """
    path = folder / "hub.json"
    if not path.exists():
        message = f"reading the identity in {folder}: none found, so this device is not enrolled"
        raise DiskError(message, "run `shoal-agent enrol` with a token from `shoal tokens create`")
    try:
        response = parse_message(EnrolmentResponse, path.read_bytes(), MAX_IDENTITY_BYTES)
    except (OSError, MessageError) as error:
        raise _damaged(folder, error) from error
    return Identity(
        folder=folder,
        device_id=response.device_id,
        broker_host=response.broker_host,
        broker_port=response.broker_port,
        api_url=response.api_url,
        trust_root=response.trust_root.encode(),
    )


def save_identity(folder: Path, response: EnrolmentResponse) -> Identity:
    """Keep what the hub answered; `hub.json` comes last and makes the identity valid."""
    key = load_or_make_key(folder)
    replace_file(folder / PAIR, to_pem(key) + response.certificate_pem.encode())
    replace_file(folder / "ca.pem", response.ca_pem.encode())
    replace_file(folder / "hub.json", response.to_bytes())
    (folder / "key.pem").unlink(missing_ok=True)
    return load_identity(folder)


def load_or_make_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """Return the device's P-256 key: its certificate's, and before enrolment one that is made at the first call."""
    if (folder / PAIR).exists():
        return load_key(folder / PAIR)
    return load_or_make(folder / "key.pem")


def load_or_make(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key of a file, made there at the first call; file mode 0600.

    Raises:
        DiskError: It is damaged or holds another key, or the disk does not take a new one.
    """
    try:
        if not path.exists():
            make_folder(path.parent, mode=0o700)
            replace_file(path, to_pem(ec.generate_private_key(ec.SECP256R1())))
    except OSError as error:
        raise DiskError(f"keeping a new key in {path}: {error}", "free some disk space, and check its owner") from error
    return load_key(path)


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key that is the first thing in a file.

    Raises:
        DiskError: The file is missing, damaged or holds another key.
    """
    loaded = _load_private(path)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        message = f"reading {path}: a {type(loaded).__name__} found, a P-256 key expected"
        raise DiskError(message, "move the file away and enrol again with a new token")
    return loaded


def read_certificate(path: Path) -> CertificateFacts:
    """Return what the certificate in a file says.

    Raises:
        DiskError: The file is missing or damaged.
    """
    try:
        certificate, *_ = parse_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(path.parent, error) from error
    serial = f"{certificate.serial_number:x}"
    return CertificateFacts(serial, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def describe(folder: Path) -> dict[str, str]:
    """Return what a person asks about an enrolled device's identity; times as ISO 8601, keys by their SHA-256.

    Raises:
        DiskError: The device is not enrolled, or the folder is damaged.
    """
    identity, certificate = load_identity(folder), read_certificate(folder / PAIR)
    encryption_key = load_or_make_encryption_key(folder, identity.device_id).private.public_key()
    return {
        "device_id": identity.device_id,
        "serial": certificate.serial,
        "starts_at": certificate.starts_at.isoformat(),
        "expires_at": certificate.expires_at.isoformat(),
        "key_sha256": device_key_id(load_key(folder / PAIR).public_key()),
        "encryption_key_sha256": key_sha256(encryption_key),
        "hub": identity.api_url,
    }


def make_signing_request(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a CSR (PKCS #10, RFC 2986; PEM) with an empty subject: the hub makes the device's id."""
    from cryptography import x509  # 1 MB that only enrolment and renewal need
    from cryptography.hazmat.primitives import hashes

    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PKCS #8 PEM, for a file that its owner alone may read."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_private(path: Path) -> object:
    try:
        return serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path.parent, error) from error


def _damaged(folder: Path, error: Exception) -> DiskError:
    message = f"reading the identity in {folder}: {error}"
    return DiskError(message, f"check who owns {folder}; if it is damaged, move it away and enrol with a new token")
