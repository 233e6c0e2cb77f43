"""The generations of the devices' certificate authority, as files, and how one takes the place of another.

`ca.json` is the truth: which generation issues and which are trusted. `ca-N.key` and `ca-N.pem` are a generation;
`ca-N-by-M.pem` is its key, certified by the one before ("new with old", RFC 4210, section 4.4): it has the same name,
so it is self-issued and the older authority's path length of 0 lets it pass. A server shows these links beside its own
certificate, so that a device that was off during the whole change still knows its hub.
"""

from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, ValidationError

from shoal_hub.errors import ConflictError
from shoal_hub.trust import certificates, files
from shoal_hub.trust.errors import TrustError
from shoal_hub.trust.keystore import Keystore

Phase = Literal["steady", "announced", "switched"]
NAME: Final = "Shoal device CA"
_STATUS: Final = "see how far it is: shoal trust ca status"


class Standing(BaseModel):
    """Which generation signs, and which ones are trusted, oldest first."""

    model_config = ConfigDict(frozen=True)

    issuing: int = 1
    trusted: tuple[int, ...] = (1,)

    @property
    def phase(self) -> Phase:
        """How far a change of the authority is."""
        if len(self.trusted) == 1:
            return "steady"
        return "announced" if self.trusted[-1] > self.issuing else "switched"

    def announce(self) -> "Standing":
        """Trust a new generation beside the present one.

        Raises:
            ConflictError: A change is under way.
        """
        self._expect("steady", "announcing a new CA")
        return Standing(issuing=self.issuing, trusted=(*self.trusted, self.issuing + 1))

    def switch(self) -> "Standing":
        """Sign by the new generation.

        Raises:
            ConflictError: None was announced.
        """
        self._expect("announced", "switching to the new CA")
        return Standing(issuing=self.trusted[-1], trusted=self.trusted)

    def finish(self) -> "Standing":
        """Trust the new generation alone.

        Raises:
            ConflictError: The hub has not switched to it.
        """
        self._expect("switched", "ending the trust in the old CA")
        return Standing(issuing=self.issuing, trusted=(self.issuing,))

    def _expect(self, phase: Phase, doing: str) -> None:
        if self.phase != phase:
            raise ConflictError(f"{doing}: the change is {self.phase}, {phase} was expected", _STATUS)


class Generations:
    """The files of every generation, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def standing_path(self) -> Path:
        """Where it is written which generation issues; replaced in one step."""
        return self._folder / "ca.json"

    @property
    def bundle_path(self) -> Path:
        """Every trusted generation's certificate as PEM, the issuing one first; made from the rest."""
        return self._folder / "ca.pem"

    def prepare(self) -> Standing:
        """Make the first generation where there is none, and the bundle where it is not as it should be.

        Raises:
            TrustError: The files are damaged.
        """
        if not self.standing_path.exists():
            self.make(1)
            self.write_standing(Standing())
        standing = self.read_standing()
        if not self.bundle_path.exists() or self.bundle_path.read_text() != self.bundle(standing):
            self._write_bundle(standing)
        return standing

    def read_standing(self) -> Standing:
        """Return what is in force.

        Raises:
            TrustError: The file is missing or damaged.
        """
        try:
            return Standing.model_validate_json(self.standing_path.read_bytes())
        except (OSError, ValidationError) as error:
            msg = f"reading {self.standing_path}: {error}"
            raise TrustError(msg, "restore the trust folder from its backup") from error

    def write_standing(self, standing: Standing) -> None:
        """Put another standing in force, and the bundle after it; a key that signs no more is deleted."""
        files.write_private(self.standing_path, standing.model_dump_json().encode())
        self._write_bundle(standing)
        for key_path in self._folder.glob("ca-*.key"):
            if int(key_path.stem.removeprefix("ca-")) < standing.trusted[0]:
                key_path.unlink()

    def make(self, number: int) -> None:
        """Make a generation's key and certificates; one that a crash left half made is made anew."""
        key = ec.generate_private_key(ec.SECP256R1())
        Keystore.open(self._folder).write(_key_name(number), key)
        certificate = certificates.make_authority(NAME, key)
        files.write_certificate(self._certificate_path(number), certificate)
        if number > 1:
            link = certificates.make_link(certificate, self.certificate(number - 1), self.key(number - 1))
            files.write_certificate(self._link_path(number), link)

    def key(self, number: int) -> ec.EllipticCurvePrivateKey:
        """Return a generation's key, which it has until it is trusted no more."""
        return Keystore.open(self._folder).read_ec(_key_name(number))

    def certificate(self, number: int) -> x509.Certificate:
        """Return a generation's self-signed certificate."""
        return files.read_certificate(self._certificate_path(number))

    def links(self, number: int) -> list[x509.Certificate]:
        """Return the certificates that lead from a generation back to the first."""
        return [files.read_certificate(self._link_path(one)) for one in range(number, 1, -1)]

    def bundle(self, standing: Standing) -> str:
        """Return the trusted generations' certificates as PEM, the issuing one first."""
        order = sorted(standing.trusted, key=lambda number: number != standing.issuing)
        return "".join(self.certificate(number).public_bytes(serialization.Encoding.PEM).decode() for number in order)

    def _write_bundle(self, standing: Standing) -> None:
        files.write_private(self.bundle_path, self.bundle(standing).encode())

    def _certificate_path(self, number: int) -> Path:
        return self._folder / f"ca-{number}.pem"

    def _link_path(self, number: int) -> Path:
        return self._folder / f"ca-{number}-by-{number - 1}.pem"


def _key_name(number: int) -> str:
    return f"ca-{number}"
