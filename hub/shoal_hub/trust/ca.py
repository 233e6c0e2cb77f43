"""The hub's two certificate authorities, as files under `trust/`.

`DeviceAuthority` speaks for devices and for the servers that devices talk to; `HubAuthority` for the hub's own
connections to the broker, on a listener of its own, so that no device certificate can ever act as the hub.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typing_extensions import Self

from shoal_hub.trust import certificates, files
from shoal_hub.trust.errors import CertificateRequestError, TrustError
from shoal_hub.trust.generations import Generations, Standing
from shoal_hub.trust.keystore import Keystore

SERVER: Final = "server"
"""Stem of the pair that devices and operators are shown."""
_HUB_CA: Final = "hub-ca"
_RENEW_BEFORE: Final = timedelta(days=60)
_STAND_IN_LIFE: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Identity:
    """A private key and its certificate, as PEM files."""

    certificate: Path
    key: Path


class Issuer(NamedTuple):
    """Who signs: a certificate with its key, and the links by which those who trust an older one know it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    links: Sequence[x509.Certificate] = ()

    def sign_revocations(
        self, revoked: Mapping[int, datetime], last_update: datetime, next_update: datetime
    ) -> x509.CertificateRevocationList:
        """Sign the list of serial numbers that no longer count, with the time from which they do not."""
        return certificates.make_revocation_list(revoked, self.certificate, self.key, last_update, next_update)

    def has_signed(self, revocations: x509.CertificateRevocationList) -> bool:
        """Whether a revocation list is signed by this key."""
        return revocations.is_signature_valid(self.key.public_key())


class _Authority(ABC):
    """Signs servers' certificates; who signs is up to each authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    @abstractmethod
    def issuer(self) -> Issuer:
        """Who signs now."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the issuing certificate (DER), 64 hexadecimal digits: what enrolment tokens pin."""
        return self.issuer.certificate.fingerprint(hashes.SHA256()).hex()

    def issue_server(self, hosts: Sequence[str], stem: str = SERVER) -> Identity:
        """Return a server identity for `hosts`; the one on disk is kept while it is for the same hosts.

        Args:
            hosts: DNS names and IP addresses that clients connect to.
            stem: Name of the two files.
        """
        identity = self._identity(stem)
        with files.locked(self._folder):
            if not self._is_current(identity, set(hosts)):
                issuer, key = self.issuer, ec.generate_private_key(ec.SECP256R1())
                certificate = certificates.make_server(hosts, key.public_key(), issuer.certificate, issuer.key)
                files.write_key(identity.key, key)
                files.write_certificate(identity.certificate, certificate, *issuer.links)
        return identity

    def _identity(self, stem: str) -> Identity:
        return Identity(certificate=self._folder / f"{stem}.pem", key=self._folder / f"{stem}.key")

    def _is_current(self, identity: Identity, hosts: set[str] | None = None) -> bool:
        if not (identity.certificate.exists() and identity.key.exists()):
            return False
        certificate = files.read_certificate(identity.certificate)
        is_fresh = certificate.not_valid_after_utc - datetime.now(UTC) > _RENEW_BEFORE
        is_ours = _is_by(certificate, self.issuer.certificate) and _is_pair(certificate, identity.key)
        return is_fresh and is_ours and (hosts is None or certificates.server_hosts(certificate) == hosts)


class DeviceAuthority(_Authority):
    """Signs devices' certificates and the servers' that devices talk to (API, the broker's device listener).

    It has generations, of which one takes the place of another in three steps; every process of the hub notices a step
    of any other by the file that it writes.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._generations = Generations(folder)
        self._stamp = (0, 0)
        self._standing = Standing()
        self._bundle = ""
        self._issuer: Issuer | None = None
        self._trusted: tuple[Sequence[int], list[Issuer]] = ((), [])

    @classmethod
    def open(cls, trust_dir: Path) -> Self:
        """Read the authority from its folder, or make it there.

        Raises:
            TrustError: Its files are damaged, or its key is open to others.
        """
        authority = cls(trust_dir)
        with files.locked(trust_dir):
            authority._generations.prepare()
            authority._look()
        return authority

    @property
    def issuer(self) -> Issuer:
        """Who signs now."""
        return self._look()

    @property
    def standing(self) -> Standing:
        """Which generation issues, and which are trusted."""
        self._look()
        return self._standing

    @property
    def standing_path(self) -> Path:
        """The file that changes with each step from one generation to the next."""
        return self._generations.standing_path

    @property
    def certificate_path(self) -> Path:
        """Where the trusted certificates lie, as PEM: the issuing one first."""
        return self._generations.bundle_path

    @property
    def certificate_pem(self) -> str:
        """The trusted certificates as PEM text, the issuing one first."""
        self._look()
        return self._bundle

    def trusted_issuers(self) -> list[Issuer]:
        """Return each trusted generation with its key, oldest first: each has a revocation list of its own."""
        generations, numbers = self._generations, self.standing.trusted
        if self._trusted[0] != numbers:  # to open a key takes milliseconds, and it is asked for again and again
            issuers = [
                Issuer(generations.certificate(one), generations.key(one), generations.links(one)) for one in numbers
            ]
            self._trusted = (numbers, issuers)
        return self._trusted[1]

    def fingerprints(self) -> dict[int, str]:
        """Return the fingerprint of each trusted generation."""
        found = {number: self._generations.certificate(number) for number in self.standing.trusted}
        return {number: certificate.fingerprint(hashes.SHA256()).hex() for number, certificate in found.items()}

    def announce(self) -> None:
        """Make a new generation and trust it beside the present one.

        Raises:
            ConflictError: A change is under way.
        """
        with files.locked(self._folder):
            standing = self._generations.read_standing().announce()
            self._generations.make(standing.trusted[-1])
            self._generations.write_standing(standing)

    def switch(self) -> None:
        """Sign by the new generation from now on.

        Raises:
            ConflictError: None was announced.
        """
        with files.locked(self._folder):
            self._generations.write_standing(self._generations.read_standing().switch())

    def finish(self) -> None:
        """Trust the new generation alone; the old one's key is deleted.

        Raises:
            ConflictError: The hub has not switched to it.
        """
        with files.locked(self._folder):
            self._generations.write_standing(self._generations.read_standing().finish())

    def issue(
        self, csr: x509.CertificateSigningRequest, device_id: str, life: timedelta = certificates.LEAF_LIFE
    ) -> x509.Certificate:
        """Sign a device's key; the hub alone chooses the name.

        Args:
            csr: The request; its subject is empty (or names `device_id`, when a device renews).
            device_id: Becomes the common name, and so the device's MQTT user name and client id.
            life: How long the certificate is good for.

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
        issuer = self.issuer
        return certificates.make_client(device_id, public_key, issuer.certificate, issuer.key, life)

    def _look(self) -> Issuer:
        """Return who signs, read again where another process has gone a step further."""
        found = self.standing_path.stat()
        stamp = (found.st_mtime_ns, found.st_ino)
        if self._issuer is None or stamp != self._stamp:
            standing = self._generations.read_standing()
            number = standing.issuing
            self._issuer = Issuer(
                self._generations.certificate(number), self._generations.key(number), self._generations.links(number)
            )
            self._standing, self._bundle, self._stamp = standing, self._generations.bundle(standing), stamp
        return self._issuer

    def stand_in(self, device_id: str, folder: Path) -> Identity:
        """Make an identity in a device's own name, good for minutes: with it the hub takes the device's place.

        Args:
            device_id: Whose place is taken; the device's own keys stay as they are.
            folder: Where key and certificate are written; a private one, removed after use.
        """
        identity = Identity(folder / "stand-in.pem", folder / "stand-in.key")
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.issuer
        certificate = certificates.make_client(
            device_id,
            key.public_key(),
            issuer.certificate,
            issuer.key,
            _STAND_IN_LIFE,
            backdate=certificates.BACKDATE,  # a broker elsewhere may be behind by more than a tenth of minutes
        )
        files.write_key(identity.key, key)
        files.write_certificate(identity.certificate, certificate)
        return identity


class HubAuthority(_Authority):
    """Signs the hub's own connections to the broker and the listener that they use."""

    def __init__(self, folder: Path, issuer: Issuer) -> None:
        super().__init__(folder)
        self._issuer = issuer

    @classmethod
    def open(cls, trust_dir: Path) -> Self:
        """Read the authority from its folder, or make it there.

        Raises:
            TrustError: Its files are damaged, or its key is open to others.
        """
        keys = Keystore.open(trust_dir)
        with files.locked(trust_dir):
            certificate_file = trust_dir / f"{_HUB_CA}.pem"
            if not certificate_file.exists():
                key = ec.generate_private_key(ec.SECP256R1())
                keys.write(_HUB_CA, key)
                files.write_certificate(certificate_file, certificates.make_authority("Shoal hub CA", key))
            return cls(trust_dir, Issuer(files.read_certificate(certificate_file), keys.read_ec(_HUB_CA)))

    @classmethod
    def rotate(cls, trust_dir: Path) -> Self:
        """Make the authority anew, and remove every key that a server or a connection uses: they are made at need.

        No process of the hub may run. A crash at any point leaves what `open` completes.

        Raises:
            TrustError: There is none yet, or the keys cannot be opened.
        """
        cls._check_there(trust_dir)
        with files.locked(trust_dir):
            # The servers' pair first and the authority's own certificate next: without it `open` makes another.
            for path in (trust_dir / f"{SERVER}.pem", trust_dir / f"{SERVER}.key", trust_dir / f"{_HUB_CA}.pem"):
                path.unlink(missing_ok=True)
            for path in [*trust_dir.glob("hub-*.pem"), *trust_dir.glob("hub-*.key")]:
                path.unlink()
        return cls.open(trust_dir)

    @classmethod
    def _check_there(cls, trust_dir: Path) -> None:
        if not (trust_dir / f"{_HUB_CA}.pem").exists():
            raise TrustError(
                f"replacing the hub's CA: there is none in {trust_dir}",
                "name the hub's data folder in SHOAL_DATA; a hub makes its CA at its start",
            )
        cls.open(trust_dir)  # with the wrong passphrase nothing may be removed

    @property
    def issuer(self) -> Issuer:
        """Who signs."""
        return self._issuer

    @property
    def certificate_path(self) -> Path:
        """Where the authority's certificate lies, as PEM."""
        return self._folder / f"{_HUB_CA}.pem"

    @property
    def certificate_pem(self) -> str:
        """The authority's certificate as PEM text."""
        return self._issuer.certificate.public_bytes(serialization.Encoding.PEM).decode()

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
                issuer = self._issuer
                certificate = certificates.make_client(name, key.public_key(), issuer.certificate, issuer.key)
                files.write_certificate(identity.certificate, certificate)
        return identity


def _is_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    # Generations share one name: only the signature tells them apart.
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


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
