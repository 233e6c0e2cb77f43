"""The hub's two certificate authorities, as files under `trust/`.

`DeviceAuthority` speaks for devices and for the servers that devices talk to; `HubAuthority` for the hub's own
connections to the broker, on a listener of its own, so that no device certificate can ever act as the hub.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typing_extensions import Self

from shoal_hub.trust import certificates, files
from shoal_hub.trust.errors import CertificateRequestError
from shoal_hub.trust.keystore import Keystore

_RENEW_BEFORE: Final = timedelta(days=60)
_STAND_IN_LIFE: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Identity:
    """A private key and its certificate, as PEM files."""

    certificate: Path
    key: Path


class _Authority:
    """A P-256 key and its self-signed certificate; made at first use."""

    stem: ClassVar[str]
    name: ClassVar[str]

    def __init__(self, folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._folder = folder
        self._key = key
        self._certificate = certificate

    @classmethod
    def open(cls, trust_dir: Path) -> Self:
        """Read the authority from its folder, or make it there.

        Raises:
            TrustError: Its files are damaged, or its key is open to others.
        """
        keys = Keystore.open(trust_dir)
        with files.locked(trust_dir):
            certificate_file = trust_dir / f"{cls.stem}.pem"
            if not certificate_file.exists():
                key = ec.generate_private_key(ec.SECP256R1())
                keys.write(cls.stem, key)
                files.write_certificate(certificate_file, certificates.make_authority(cls.name, key))
            certificate = files.read_certificate(certificate_file)
            return cls(trust_dir, keys.read_ec(cls.stem), certificate)

    @property
    def certificate_path(self) -> Path:
        """Where the authority's certificate lies, as PEM."""
        return self._folder / f"{self.stem}.pem"

    @property
    def certificate_pem(self) -> str:
        """The authority's certificate as PEM text."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate (DER), 64 hexadecimal digits: what enrolment tokens pin."""
        return self._certificate.fingerprint(hashes.SHA256()).hex()

    def issue_server(self, hosts: Sequence[str], stem: str = "server") -> Identity:
        """Return a server identity for `hosts`; the one on disk is kept while it is for the same hosts.

        Args:
            hosts: DNS names and IP addresses that clients connect to.
            stem: Name of the two files.
        """
        identity = self._identity(stem)
        with files.locked(self._folder):
            if not self._is_current(identity, set(hosts)):
                key = ec.generate_private_key(ec.SECP256R1())
                certificate = certificates.make_server(hosts, key.public_key(), self._certificate, self._key)
                files.write_key(identity.key, key)
                files.write_certificate(identity.certificate, certificate)
        return identity

    def _identity(self, stem: str) -> Identity:
        return Identity(certificate=self._folder / f"{stem}.pem", key=self._folder / f"{stem}.key")

    def _is_current(self, identity: Identity, hosts: set[str] | None = None) -> bool:
        if not (identity.certificate.exists() and identity.key.exists()):
            return False
        certificate = files.read_certificate(identity.certificate)
        is_fresh = certificate.not_valid_after_utc - datetime.now(UTC) > _RENEW_BEFORE
        is_ours = certificate.issuer == self._certificate.subject and _is_pair(certificate, identity.key)
        return is_fresh and is_ours and (hosts is None or certificates.server_hosts(certificate) == hosts)


class DeviceAuthority(_Authority):
    """Signs devices' certificates and the servers' that devices talk to (API, the broker's device listener)."""

    stem = "ca"
    name = "Shoal device CA"

    def issue(self, csr: x509.CertificateSigningRequest, device_id: str) -> x509.Certificate:
        """Sign a device's key; the hub alone chooses the name.

        Args:
            csr: The request; its subject is empty (or names `device_id`, when a device renews).
            device_id: Becomes the common name, and so the device's MQTT user name and client id.

        Raises:
            CertificateRequestError: The request names somebody, is not signed by its own key, or the key is not P-256.
        """
        public_key = _checked_key(csr)
        if csr.subject not in {x509.Name([]), certificates.common_name(device_id)}:
            found = csr.subject.rfc4514_string()
            raise CertificateRequestError(
                f"signing a device's certificate request: it asks for the name {found!r}, but the hub makes the id",
                "send a request with an empty subject",
            )
        return certificates.make_client(device_id, public_key, self._certificate, self._key)

    def stand_in(self, device_id: str, folder: Path) -> Identity:
        """Make an identity in a device's own name, good for minutes: with it the hub takes the device's place.

        Args:
            device_id: Whose place is taken; the device's own keys stay as they are.
            folder: Where key and certificate are written; a private one, removed after use.
        """
        identity = Identity(folder / "stand-in.pem", folder / "stand-in.key")
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = certificates.make_client(
            device_id, key.public_key(), self._certificate, self._key, _STAND_IN_LIFE
        )
        files.write_key(identity.key, key)
        files.write_certificate(identity.certificate, certificate)
        return identity

    def sign_revocations(
        self, revoked: Mapping[int, datetime], last_update: datetime, next_update: datetime
    ) -> x509.CertificateRevocationList:
        """Sign the list of serial numbers that no longer count, with the time from which they do not."""
        return certificates.make_revocation_list(revoked, self._certificate, self._key, last_update, next_update)

    def has_signed(self, revocations: x509.CertificateRevocationList) -> bool:
        """Whether this authority has signed a revocation list."""
        return revocations.is_signature_valid(self._key.public_key())


class HubAuthority(_Authority):
    """Signs the hub's own connections to the broker and the listener that they use."""

    stem = "hub-ca"
    name = "Shoal hub CA"

    def connection(self, name: str) -> Identity:
        """Return the identity that a process of the hub connects to the broker with.

        Its key is a plain file, like those of the listeners, which Mosquitto reads by itself: it is worth a year's
        access to the broker, which can delay what the hub says and forge none of it.

        Args:
            name: User name and client id at the broker, like `hub-controller`; one connection at a time each.
        """
        identity = self._identity(name)
        with files.locked(self._folder):
            if not self._is_current(identity):
                key = ec.generate_private_key(ec.SECP256R1())
                files.write_key(identity.key, key)
                certificate = certificates.make_client(name, key.public_key(), self._certificate, self._key)
                files.write_certificate(identity.certificate, certificate)
        return identity


def _is_pair(certificate: x509.Certificate, key_file: Path) -> bool:
    return files.read_ec_key(key_file).public_key() == certificate.public_key()


def _checked_key(csr: x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    if not csr.is_signature_valid:
        raise CertificateRequestError(
            "signing a device's certificate request: its signature does not hold",
            "make a new request from the device's own key",
        )
    key = csr.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        found = f"{key.curve.name} key" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
        raise CertificateRequestError(
            f"signing a device's certificate request: a P-256 key is expected, found {found}",
            "make the device's key on the curve P-256 (secp256r1)",
        )
    return key
