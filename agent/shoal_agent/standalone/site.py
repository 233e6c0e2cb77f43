"""The site whose devices may pass requests to this server, and the certificate by which they know it.

The certificate is the server's own, made at its first start: the site's policy, which the hub signs, names its hash.
"""

import hashlib
import ssl
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from logging import getLogger
from pathlib import Path
from typing import Final

from shoal_agent.durable import make_folder, replace_file
from shoal_agent.errors import AgentError, DiskError, HubError, HubUnreachableError
from shoal_agent.site.peers import device_of
from shoal_agent.standalone.registry import HubRegistry
from shoal_agent.tls import NO_CHECK_TIME

_PAIR: Final = "server.pem"
_CA: Final = "ca.pem"
_LIFE: Final = timedelta(days=3650)
_log = getLogger(__name__)


@dataclass
class ServedSite:
    """Follows who is on a site.

    Attributes:
        name: The site's; empty: no device is listened to.
        registry: The hub.
        folder: Of certificate and CA.
        members: Devices that may pass requests here.
    """

    name: str
    registry: HubRegistry
    folder: Path
    members: tuple[str, ...] = ()
    certificate_sha256: str = ""
    _told: str = field(default="", init=False)

    def begin(self) -> None:
        """Make what is missing, and look for the first time.

        Raises:
            AgentError: The hub refuses or does not answer, or the disk does.
        """
        if not self.name:
            return
        try:
            make_folder(self.folder, 0o700)
            self.certificate_sha256 = _own_certificate(self.folder / _PAIR)
        except OSError as error:
            raise DiskError(f"making the server's certificate in {self.folder}: {error}") from error
        self._look()

    def look(self) -> None:
        """Look again; while the hub is away those of before stay, and where it refuses nobody may ask any more."""
        if not self.name:
            return
        try:
            self._look()
            self._told = ""
        except AgentError as error:
            if isinstance(error, HubError) and not isinstance(error, HubUnreachableError):
                self.members = ()
            if self._told != str(error):
                _log.error("looking for the devices of site %s: %s; %s", self.name, error, error.remedy)
            self._told = str(error)

    def _look(self) -> None:
        self.members = self.registry.devices_of(self.name)
        data, path = self.registry.device_ca(), self.folder / _CA
        try:
            if not path.exists() or path.read_bytes() != data:
                replace_file(path, data, 0o644)
        except OSError as error:
            raise DiskError(f"keeping the CA of devices in {path}: {error}") from error


def server_context(folder: Path) -> ssl.SSLContext:
    """Return the context of this server: whoever connects shows a certificate of the hub's CA.

    Raises:
        OSError: Key or certificates can not be read; an `ssl.SSLError` is one, too.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags = ssl.VerifyFlags(int(context.verify_flags) | NO_CHECK_TIME)  # `device_of` looks at dates
    context.load_cert_chain(folder / _PAIR)
    read_again(folder, context)
    return context


def read_again(folder: Path, context: ssl.SSLContext) -> None:
    """Trust newer CAs, too, for the connections to come."""
    context.load_verify_locations(cafile=str(folder / _CA))


def identify(folder: Path, certificate: bytes | None) -> str:
    """Return the id of the device whose certificate this is.

    Raises:
        OSError: It is none of the hub's, or the CA can not be read.
    """
    return device_of(certificate, (folder / _CA).read_bytes(), datetime.now(timezone.utc))


def _own_certificate(path: Path) -> str:
    """Return the hash of the server's certificate, which is made with its key where there is none."""
    if not path.exists():
        replace_file(path, make_pair(), 0o600)
    pem = path.read_text()
    start = pem.index("-----BEGIN CERTIFICATE-----")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[start:])).hexdigest()


def make_pair() -> bytes:
    """Return a new private key and a certificate for it that it has signed itself, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shoal-serve")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + _LIFE)
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
