"""Encrypted versions: files as sealed chunks, and their version's key wrapped for one device. Pure.

A file is cut into chunks of `CHUNK_BYTES`, each sealed with AES-256-GCM (NIST SP 800-38D) and put one after the other:
no header, 16 bytes more a chunk. The file's key is HKDF-SHA256 (RFC 5869) of the version's key and the plain file's
SHA-256, so a key seals one content only, and the chunk's index can be its nonce. Each chunk is bound to that hash, to
its place and to how many there are. The version's key travels by HPKE (RFC 9180, base mode), for one device and use.
"""

import base64
import binascii
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import Field

from shoal_contract.errors import EncryptionError
from shoal_contract.ids import Sha256
from shoal_contract.limits import MAX_HTTPS_ARTIFACT_BYTES
from shoal_contract.wire import WireValue

CHUNK_BYTES: Final = 65_536
"""Plain bytes of a chunk; the last may have fewer."""
TAG_BYTES: Final = 16
KEY_BYTES: Final = 32
WRAPPED_BYTES: Final = 32 + KEY_BYTES + TAG_BYTES
"""An ephemeral X25519 key, the sealed version key and its tag."""

_SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_FILE_LABEL: Final = b"shoal/1/encrypted-file\0"
_DELTA_LABEL: Final = b"shoal/1/delta\0"
_KEY_LABEL: Final = b"shoal/1/version-key\0"
_NONCE_BYTES: Final = 12
_COUNT_BYTES: Final = 8


class EncryptedFile(WireValue):
    """A variant's file as it travels and lies on disks: hash and size of the ciphertext, plain bytes of a chunk."""

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=1 + TAG_BYTES, le=MAX_HTTPS_ARTIFACT_BYTES)]
    chunk_bytes: Literal[65_536] = CHUNK_BYTES


class WrappedKey(WireValue):
    """A version's key for one device: SHA-256 of the encryption key that opens it, and base64 of what HPKE gave."""

    recipient: Sha256
    data: Annotated[str, Field(min_length=WRAPPED_BYTES * 4 // 3, max_length=WRAPPED_BYTES * 4 // 3 + 4)]


@dataclass(frozen=True)
class KeyUse:
    """What a wrapped key is for; under any other use it does not open."""

    device_id: str
    model: str
    version: int

    @property
    def info(self) -> bytes:
        """The application's info in HPKE; none of the parts can hold the NUL between them."""
        return _KEY_LABEL + f"{self.device_id}\0{self.model}\0{self.version}".encode()


def wrap_key(version_key: bytes, recipient: X25519PublicKey, use: KeyUse) -> WrappedKey:
    """Wrap a version's key so that only the holder of `recipient` reads it; each call gives other bytes."""
    data = _SUITE.encrypt(version_key, recipient, use.info)
    return WrappedKey(recipient=key_sha256(recipient), data=base64.b64encode(data).decode())


def unwrap_key(wrapped: WrappedKey, key: X25519PrivateKey, use: KeyUse) -> bytes:
    """Return the version's key.

    Raises:
        EncryptionError: It was wrapped for another key, device or version, or was changed.
    """
    doing = f"opening the key of {use.model} version {use.version}"
    own = key_sha256(key.public_key())
    if wrapped.recipient != own:
        msg = f"{doing}: it is wrapped for the encryption key {wrapped.recipient[:12]}, this device has {own[:12]}"
        raise EncryptionError(msg)
    try:
        version_key = _SUITE.decrypt(base64.b64decode(wrapped.data, validate=True), key, use.info)
    except (InvalidTag, binascii.Error, ValueError) as error:
        msg = f"{doing}: it was made for another device or version, or was changed on its way"
        raise EncryptionError(msg) from error
    if len(version_key) != KEY_BYTES:
        msg = f"{doing}: {len(version_key)} bytes found, {KEY_BYTES} expected"
        raise EncryptionError(msg)
    return version_key


def delta_key(base_key: bytes | None, new_key: bytes | None) -> bytes | None:
    """Return what a delta between two files is encrypted under, in place of a version's key.

    A delta and one of its two files give the other. So it opens only for who may read both: its key is HKDF of the
    keys of those versions that are encrypted, the base's first.

    Args:
        base_key: The base's version key, None where the base is not encrypted.
        new_key: The same of the new file.

    Returns:
        32 secret bytes, None where neither is encrypted and the delta goes plain.
    """
    keys = [key for key in (base_key, new_key) if key is not None]
    if not keys:
        return None
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=_DELTA_LABEL).derive(b"".join(keys))


def parse_encryption_key(text: str) -> X25519PublicKey:
    """Return a device's encryption key from its 64 hexadecimal digits.

    Raises:
        EncryptionError: It is no key, or one of the few that make every shared secret zero (RFC 7748, section 6.1).
    """
    try:
        key = X25519PublicKey.from_public_bytes(bytes.fromhex(text))
        X25519PrivateKey.generate().exchange(key)
    except ValueError as error:
        msg = f"reading an encryption key: {text[:12]} is no X25519 public key that secrets can be kept with: {error}"
        raise EncryptionError(msg) from error
    return key


def key_sha256(key: X25519PublicKey) -> str:
    """Return the SHA-256 of an encryption key's 32 bytes: the name that `WrappedKey.recipient` gives it."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def encrypted_size(size_bytes: int) -> int:
    """Return the ciphertext's bytes for a plain file of `size_bytes`."""
    return size_bytes + TAG_BYTES * _chunk_count(size_bytes)


def encrypt_chunks(plain: Iterable[bytes], version_key: bytes, sha256: str, size_bytes: int) -> Iterator[bytes]:
    """Yield the sealed chunks of a file.

    Args:
        plain: The file's bytes, cut into chunks of `CHUNK_BYTES`.
        version_key: 32 secret bytes.
        sha256: Of the plain file. A key must never seal two contents: it has to be true, and is checked.
        size_bytes: Of the plain file.

    Raises:
        EncryptionError: What was read is not the file that hash and size name; what was yielded must be thrown away.
    """
    cipher = _FileCipher(version_key, sha256, size_bytes)
    digest = hashlib.sha256()
    index = -1
    for index, chunk in enumerate(plain):
        cipher.check_length(index, len(chunk), 0)
        digest.update(chunk)
        yield cipher.seal(index, chunk)
    cipher.check_end(index + 1, digest.hexdigest())


def decrypt_chunks(
    sealed: Iterable[bytes], version_key: bytes, sha256: str, size_bytes: int, *, is_known: bool = False
) -> Iterator[bytes]:
    """Yield the plain chunks of a file; only when the last has come is the file whole and the one that was named.

    Each chunk's tag holds it against the key, the named hash, its place and the number of chunks. So nobody without the
    version's key can bring another byte past it, and the plain hash tells only of a maker of the file who had that key
    and sealed something else under that hash. Once is enough to find that out.

    Args:
        sealed: The ciphertext, cut into chunks of `CHUNK_BYTES + TAG_BYTES`.
        version_key: 32 secret bytes.
        sha256: Of the plain file, as the signed manifest says.
        size_bytes: Of the plain file, as the signed manifest says.
        is_known: Whether this very file, as it was stored, has come out right before: then tags and number suffice.

    Raises:
        EncryptionError: The key is not this version's, or chunks were cut off, added, swapped or changed.
    """
    cipher = _FileCipher(version_key, sha256, size_bytes)
    digest = hashlib.sha256()
    index = -1
    for index, chunk in enumerate(sealed):
        cipher.check_length(index, len(chunk), TAG_BYTES)
        plain = cipher.open(index, chunk)
        if not is_known:
            digest.update(plain)
        yield plain
    cipher.check_end(index + 1, sha256 if is_known else digest.hexdigest())


def encrypt_file(plain: bytes, version_key: bytes) -> bytes:
    """Return a file's ciphertext; the same file under the same key gives the same bytes.

    Raises:
        EncryptionError: The file is empty.
    """
    sha256 = hashlib.sha256(plain).hexdigest()
    return b"".join(encrypt_chunks(_cut(plain, CHUNK_BYTES), version_key, sha256, len(plain)))


def decrypt_file(sealed: bytes, version_key: bytes, sha256: str, size_bytes: int) -> bytes:
    """Return the plain file, checked against its hash, see `decrypt_chunks`."""
    plain = io.BytesIO()  # hands its buffer out without a copy, where a join would hold the file twice
    plain.writelines(decrypt_chunks(_cut(sealed, CHUNK_BYTES + TAG_BYTES), version_key, sha256, size_bytes))
    return plain.getvalue()


class _FileCipher:
    """The key of one file, and what each of its chunks is bound to."""

    def __init__(self, version_key: bytes, sha256: str, size_bytes: int) -> None:
        self._doing = f"the encrypted file {sha256[:12]}"
        if len(version_key) != KEY_BYTES or size_bytes < 1:
            msg = f"{self._doing}: a key of {len(version_key)} bytes and {size_bytes} bytes; expected 32 and 1 or more"
            raise EncryptionError(msg)
        self._sha256, self._size_bytes = sha256, size_bytes
        self._count = _chunk_count(size_bytes)
        digest = bytes.fromhex(sha256)
        derived = HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=_FILE_LABEL + digest).derive(version_key)
        self._aead = AESGCM(derived)
        self._digest = digest

    def seal(self, index: int, chunk: bytes) -> bytes:
        return self._aead.encrypt(index.to_bytes(_NONCE_BYTES, "big"), chunk, self._bound_to(index))

    def open(self, index: int, chunk: bytes) -> bytes:
        try:
            return self._aead.decrypt(index.to_bytes(_NONCE_BYTES, "big"), chunk, self._bound_to(index))
        except InvalidTag as error:
            msg = (
                f"{self._doing}: chunk {index} does not open: the key is of another version, or the chunk was changed, "
                "moved or taken from another file"
            )
            raise EncryptionError(msg) from error

    def check_length(self, index: int, found: int, extra_bytes: int) -> None:
        expected = min(CHUNK_BYTES, self._size_bytes - index * CHUNK_BYTES) + extra_bytes
        if found != expected or index >= self._count:
            msg = f"{self._doing}: chunk {index} has {found} bytes, {max(expected, 0)} expected of {self._count} chunks"
            raise EncryptionError(msg)

    def check_end(self, chunks: int, found: str) -> None:
        if chunks != self._count or found != self._sha256:
            msg = (
                f"{self._doing}: {chunks} chunks with the plain hash {found[:12]} found, {self._count} chunks expected"
            )
            raise EncryptionError(msg)

    def _bound_to(self, index: int) -> bytes:
        return self._digest + index.to_bytes(_COUNT_BYTES, "big") + self._count.to_bytes(_COUNT_BYTES, "big")


def _chunk_count(size_bytes: int) -> int:
    return -(-size_bytes // CHUNK_BYTES)


def _cut(data: bytes, chunk_bytes: int) -> Iterator[bytes]:
    for start in range(0, len(data), chunk_bytes):
        yield data[start : start + chunk_bytes]
