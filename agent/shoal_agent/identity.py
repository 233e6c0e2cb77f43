"""Who this device is: its key, which never leaves it, its certificate, and whom it trusts.

`<data>/identity/` holds `key.pem`, `certificate.pem`, `ca.pem` and `hub.json`, written at enrolment.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shoal_agent.clock import Clock
from shoal_agent.durable import make_folder, replace_file
from shoal_agent.errors import DiskError
from shoal_agent.tls import hub_context
from shoal_contract.enrolment import EnrolmentResponse
from shoal_contract.errors import MessageError
from shoal_contract.wire import parse_message

MAX_IDENTITY_BYTES = 1024 * 1024


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

    def tls_context(self, clock: Clock) -> ssl.SSLContext:
        """Return the context for mutual TLS with the broker now, trusting the hub's CA alone.

        Raises:
            DiskError: Key or certificates are missing, unreadable or do not belong together.
        """
        try:
            context = hub_context(self.ca_path, clock)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self.folder / "certificate.pem", self.folder / "key.pem")
        except OSError as error:
            raise _damaged(self.folder, error) from error
        return context


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
    replace_file(folder / "certificate.pem", response.certificate_pem.encode())
    replace_file(folder / "ca.pem", response.ca_pem.encode())
    replace_file(folder / "hub.json", response.to_bytes())
    return load_identity(folder)


def load_or_make_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """Return the device's P-256 key, made at the first call; file mode 0600."""
    path = folder / "key.pem"
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        make_folder(folder, mode=0o700)
        replace_file(path, pem)
    try:
        loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(folder, error) from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        message = f"reading {path}: a {type(loaded).__name__} found, a P-256 key expected"
        raise DiskError(message, "move the file away and enrol again with a new token")
    return loaded


def make_signing_request(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a CSR (PKCS #10, RFC 2986; PEM) with an empty subject: the hub makes the device's id."""
    from cryptography import x509  # 1 MB that only an enrolment needs
    from cryptography.hazmat.primitives import hashes

    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _damaged(folder: Path, error: Exception) -> DiskError:
    message = f"reading the identity in {folder}: {error}"
    return DiskError(message, f"check who owns {folder}; if it is damaged, move it away and enrol with a new token")
