"""Secrets of the hub: how they are made and hashed.

A secret is 256 random bits, so one round of SHA-256 is enough to store it, and looking it up by its hash takes no
time that depends on the secret. Passwords, which people choose, are in `operators/passwords.py`.
"""

import hashlib
import secrets
from typing import Final

_SECRET_BYTES: Final = 32


def hash_secret(secret: str) -> str:
    """Return the form in which a secret is stored: SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_secret() -> str:
    """Make a secret of 256 bits, 43 URL-safe characters."""
    return secrets.token_urlsafe(_SECRET_BYTES)
