"""Identifiers as they appear on the wire: their forms, their types and how new ones are made."""

import base64
import hashlib
import secrets
from collections.abc import Callable
from typing import Annotated, Final

from pydantic import Field, StringConstraints

DEVICE_ID_PATTERN: Final = r"^d-[a-z2-7]{16}$"
NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,62}$"
HOST_PATTERN: Final = r"^[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}$"
SHA256_PATTERN: Final = r"^[0-9a-f]{64}$"

DeviceId = Annotated[str, StringConstraints(pattern=DEVICE_ID_PATTERN)]
"""`d-` and 16 characters of lower-case base32 (80 random bits), made by the hub alone."""
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""Name of a model, target, group, run or dataset: safe in topics, paths and URLs."""
Host = Annotated[str, StringConstraints(pattern=HOST_PATTERN)]
"""A DNS name or an IP address; an IPv6 one without brackets."""
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
"""SHA-256 (FIPS 180-4) as 64 lower-case hexadecimal digits."""
TensorName = Annotated[str, Field(min_length=1, max_length=128)]
"""Name of a model's input or output, as its file has it."""


def new_device_id(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Make a device id from 80 random bits."""
    return "d-" + base64.b32encode(random_bytes(10)).decode().lower()


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of `data` in the form of `Sha256`."""
    return hashlib.sha256(data).hexdigest()
