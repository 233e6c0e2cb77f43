"""The device's encryption key (X25519): keys of encrypted versions are wrapped for it, and it never leaves the device.

`<data>/identity/encryption.pem`, apart from the key of the device's certificate, which is replaced far more often.
"""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from shoal_agent.durable import make_folder, replace_file
from shoal_agent.errors import AgentError, ArtifactError, DiskError
from shoal_contract.encryption import KeyUse, WrappedKey, key_sha256, unwrap_key, wrap_key
from shoal_contract.errors import EncryptionError

KEY_FILE = "encryption.pem"


class OtherRecipientError(AgentError):
    """A version's key is wrapped for an encryption key that this device no longer has. It waits for the hub's next."""

    code = "key_recipient"
    default_remedy = "the agent tells the hub which key it has, and the hub wraps the version's key again by itself"


@dataclass(frozen=True)
class EncryptionKey:
    """The key, and the device that it is of."""

    private: X25519PrivateKey
    device_id: str

    @property
    def public_hex(self) -> str:
        """The public key as the hub is told, 64 hexadecimal digits."""
        return self.private.public_key().public_bytes_raw().hex()

    def is_for_another(self, wrapped: WrappedKey) -> bool:
        """Whether a version's key was wrapped for a key that is not this one."""
        return wrapped.recipient != key_sha256(self.private.public_key())

    def open(self, wrapped: WrappedKey | None, model: str, version: int) -> bytes:
        """Return the key of an encrypted version.

        Raises:
            OtherRecipientError: It is wrapped for another key; the hub will do it again for this one.
            ArtifactError: There is none, or it was made for another device, model or version.
        """
        doing = f"opening the key of {model} version {version}"
        if wrapped is None:
            message = f"{doing}: the version is encrypted and the hub gave this device no key for it"
            raise ArtifactError(
                message, "see whether the hub knows the device's encryption key, then roll it out again"
            )
        if self.is_for_another(wrapped):
            own = key_sha256(self.private.public_key())
            message = f"{doing}: wrapped for the encryption key {wrapped.recipient[:12]}, this device has {own[:12]}"
            raise OtherRecipientError(message)
        try:
            return unwrap_key(wrapped, self.private, KeyUse(self.device_id, model, version))
        except EncryptionError as error:
            raise ArtifactError(
                str(error), "roll the version out again; if it lasts, look who signs for the hub"
            ) from error

    def wrap_for(self, other: "EncryptionKey", wrapped: WrappedKey, model: str, version: int) -> WrappedKey:
        """Return a version's key, wrapped for another key of this device; what does not open is left as it is."""
        use = KeyUse(self.device_id, model, version)
        try:
            return wrap_key(unwrap_key(wrapped, self.private, use), other.private.public_key(), use)
        except EncryptionError:
            return wrapped  # it served nothing before either

    def to_pem(self) -> bytes:
        """Return the private key as PKCS #8 PEM."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def new_encryption_key(device_id: str) -> EncryptionKey:
    """Make a key."""
    return EncryptionKey(X25519PrivateKey.generate(), device_id)


def parse_encryption_key(pem: bytes, device_id: str, source: Path) -> EncryptionKey:
    """Read a key from its PEM.

    Raises:
        DiskError: It is damaged or of another kind.
    """
    remedy = f"move {source} away: the agent makes another key, and the hub wraps for that"
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise DiskError(f"reading {source}: {error}", remedy) from error
    if not isinstance(private, X25519PrivateKey):
        raise DiskError(f"reading {source}: a {type(private).__name__} found, an X25519 key expected", remedy)
    return EncryptionKey(private, device_id)


def load_or_make_encryption_key(folder: Path, device_id: str = "") -> EncryptionKey:
    """Return the device's encryption key, made at the first call; file mode 0600.

    Args:
        folder: `<data>/identity`.
        device_id: This device; none while it enrols, when there is nothing to open yet.

    Raises:
        DiskError: The file is damaged, or can not be read or written.
    """
    path = folder / KEY_FILE
    try:
        if not path.exists():
            make_folder(folder, mode=0o700)
            replace_file(path, new_encryption_key(device_id).to_pem())
    except OSError as error:
        raise DiskError(f"making the encryption key {path}: {error}") from error
    return load_encryption_key(folder, device_id)


def load_encryption_key(folder: Path, device_id: str) -> EncryptionKey:
    """Return the device's encryption key.

    Raises:
        DiskError: There is none, it is damaged, or it can not be read.
    """
    path = folder / KEY_FILE
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise DiskError(f"reading the encryption key {path}: {error}") from error
    return parse_encryption_key(pem, device_id, path)
