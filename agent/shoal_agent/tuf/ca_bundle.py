"""The CA certificates by which this device knows its hub, `<data>/identity/ca.pem`."""

from pathlib import Path

from pydantic import ValidationError

from shoal_agent.certificates import parse_certificates
from shoal_agent.durable import replace_file
from shoal_agent.errors import DiskError
from shoal_agent.tuf.errors import TufError
from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.ids import sha256_hex
from shoal_contract.trust import CA_BUNDLE_TARGET, MAX_CA_BUNDLE_BYTES

_SIGN = f"sign a target {CA_BUNDLE_TARGET} that holds the CA certificates as PEM"


class CaBundle:
    """The file, replaced by what TUF lists; the next connection is made by it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def sha256(self) -> str:
        """Hash of the file; empty where it can not be read, so that it is fetched again."""
        try:
            return sha256_hex(self._path.read_bytes())
        except OSError:
            return ""

    def replace_by(self, fetched: Path, sha256: str) -> None:
        """Trust the CA certificates of a fetched file from now on; a file that the disk has damaged is thrown away.

        Raises:
            TufError: There is none in it; the ones before stay.
            DiskError: It is damaged or gone, or the disk does not take it; the ones before stay.
        """
        try:
            pem = fetched.read_bytes()
            if sha256_hex(pem) != sha256:
                fetched.unlink()
                raise DiskError(f"reading the hub's CA certificates from {fetched}: its bytes have changed on disk")
        except OSError as error:
            raise DiskError(f"reading the hub's CA certificates from {fetched}: {error}") from error
        try:
            parse_certificates(pem)
            replace_file(self._path, pem)
        except ValueError as error:
            message = f"taking over the hub's CA certificates: {len(pem)} bytes found, which hold none: {error}"
            raise TufError("tuf_invalid", message, _SIGN) from error
        except OSError as error:
            raise DiskError(f"keeping the hub's CA certificates: {error}", "free some disk space") from error


def bundle_ref(sha256: str, size_bytes: int) -> ArtifactRef:
    """Return by what the file of a listed target is fetched.

    Raises:
        TufError: It is larger than any bundle, or no hash of a file.
    """
    try:
        ref = ArtifactRef(sha256=sha256, size_bytes=size_bytes)
    except ValidationError as error:
        raise TufError("tuf_invalid", f"fetching {CA_BUNDLE_TARGET}: {error.errors()[0]['msg']}", _SIGN) from error
    if size_bytes > MAX_CA_BUNDLE_BYTES:
        message = f"fetching {CA_BUNDLE_TARGET}: {size_bytes} bytes are listed, at most {MAX_CA_BUNDLE_BYTES} expected"
        raise TufError("tuf_invalid", message, _SIGN)
    return ref
