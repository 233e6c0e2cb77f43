"""One captured sample at rest: a line of JSON that anybody may read, then ciphertext that this device alone opens.

Each sample has a key of its own, which encrypts it as a version's file is encrypted (AES-256-GCM by chunks) and is
wrapped for the device's encryption key (HPKE), see `shoal_contract.encryption`. `capture/<model>` as what the key is
for is no model's name: neither can be taken for a version's key, nor the other way round.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from shoal_agent.capture.choice import Reason
from shoal_agent.capture.errors import CaptureError
from shoal_agent.encryption_key import EncryptionKey
from shoal_contract.encryption import (
    KEY_BYTES,
    KeyUse,
    WrappedKey,
    decrypt_file,
    encrypt_file,
    unwrap_key,
    wrap_key,
)
from shoal_contract.errors import EncryptionError
from shoal_contract.ids import Name, Sha256
from shoal_contract.wire import Count, Ordinal

_SALT_BYTES: Final = 16
"""The header names the hash of what is encrypted: with them it tells nothing of a sample that could be guessed."""
_MAX_HEADER_BYTES: Final = 8192


class About(BaseModel):
    """What is known of a sample; encrypted with it."""

    model_config = ConfigDict(frozen=True)

    model: Name
    version: Ordinal
    request_id: str
    at: AwareDatetime
    reasons: tuple[Reason, ...]
    label: int | None = None
    """That the version chose; None where it chooses none."""
    confidence: float | None = None
    sample: Count = 0
    """Its place in the request."""
    true_label: Count | None = None
    """That came back as feedback."""


@dataclass(frozen=True)
class Captured:
    """A sample with what is known of it; `sample` is .npz, an array for each of the model's inputs."""

    about: About
    sample: bytes


class Header(BaseModel):
    """The first line."""

    model_config = ConfigDict(frozen=True)

    model: Name
    version: Ordinal
    device_id: str
    sha256: Sha256
    size_bytes: Count
    keys: tuple[WrappedKey, ...] = Field(min_length=1, max_length=2)
    """The sample's key for the device's encryption key, and for its next one while that is being replaced."""

    @property
    def use(self) -> KeyUse:
        """What the key is for."""
        return KeyUse(self.device_id, f"capture/{self.model}", self.version)


def seal(captured: Captured, key: EncryptionKey) -> bytes:
    """Encrypt a sample for this device; each call gives other bytes."""
    about = captured.about
    plain = secrets.token_bytes(_SALT_BYTES) + about.model_dump_json().encode() + b"\n" + captured.sample
    secret = secrets.token_bytes(KEY_BYTES)
    use = KeyUse(key.device_id, f"capture/{about.model}", about.version)
    header = Header(
        model=about.model,
        version=about.version,
        device_id=key.device_id,
        sha256=hashlib.sha256(plain).hexdigest(),
        size_bytes=len(plain),
        keys=(wrap_key(secret, key.private.public_key(), use),),
    )
    return header.model_dump_json().encode() + b"\n" + encrypt_file(plain, secret)


def read_header(data: bytes) -> tuple[Header, bytes]:
    """Return a file's header, and what follows it.

    Raises:
        CaptureError: It has none.
    """
    line, _, sealed = data.partition(b"\n")
    try:
        return Header.model_validate_json(line[:_MAX_HEADER_BYTES]), sealed
    except ValidationError as error:
        remedy = "delete it: shoal-agent captures delete"
        raise CaptureError(f"reading a captured sample: its header is damaged: {str(error)[:100]}", remedy) from error


def unseal(data: bytes, key: EncryptionKey) -> Captured:
    """Decrypt a sample.

    Raises:
        CaptureError: It is damaged, or was kept under another key than the device has.
    """
    header, sealed = read_header(data)
    doing = f"opening a captured sample of {header.model} version {header.version}"
    mine = [wrapped for wrapped in header.keys if not key.is_for_another(wrapped)]
    if not mine:
        raise CaptureError(f"{doing}: it was kept under another encryption key", "delete it; it can not be read")
    try:
        plain = decrypt_file(sealed, unwrap_key(mine[0], key.private, header.use), header.sha256, header.size_bytes)
        about, _, sample = plain[_SALT_BYTES:].partition(b"\n")
        return Captured(About.model_validate_json(about), sample)
    except (EncryptionError, ValidationError) as error:
        raise CaptureError(f"{doing}: {str(error)[:200]}", "delete it; the disk may be damaged") from error


def take_over(data: bytes, old: EncryptionKey, new: EncryptionKey) -> bytes:
    """Return a file that either key opens; one that the old key does not open is left as it is.

    Raises:
        CaptureError: It has no header.
    """
    header, sealed = read_header(data)
    mine = [wrapped for wrapped in header.keys if not old.is_for_another(wrapped)]
    if not mine:
        return data
    try:
        secret = unwrap_key(mine[0], old.private, header.use)
    except EncryptionError:
        return data  # it could be read by nobody before either
    keys = (mine[0], wrap_key(secret, new.private.public_key(), header.use))
    return header.model_copy(update={"keys": keys}).model_dump_json().encode() + b"\n" + sealed
