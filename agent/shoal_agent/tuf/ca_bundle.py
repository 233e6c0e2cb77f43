"""The CA certificates by which this device knows its hub, `<data>/identity/ca.pem`."""

from pathlib import Path

from shoal_agent.durable import replace_file
from shoal_agent.errors import DiskError
from shoal_agent.tuf.errors import TufError
from shoal_contract.ids import sha256_hex
from shoal_contract.trust import MAX_CA_BUNDLE_BYTES


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

    def replace(self, pem: bytes) -> None:
        """Trust other CA certificates from now on.

        Raises:
            TufError: There is none in it; the ones before stay.
            DiskError: The disk does not take it; the ones before stay.
        """
        from cryptography import x509  # 1 MB that only a change of CA needs

        try:
            found = x509.load_pem_x509_certificates(pem) if len(pem) <= MAX_CA_BUNDLE_BYTES else []
        except ValueError:
            found = []
        if not found:
            message = f"taking over the hub's CA certificates: {len(pem)} bytes found, which hold none"
            raise TufError("tuf_invalid", message, "sign a target hub/ca.pem that holds the CA certificates as PEM")
        try:
            replace_file(self._path, pem)
        except OSError as error:
            raise DiskError(f"keeping the hub's CA certificates: {error}", "free some disk space") from error
