"""Secrets of the hub: how they are made, hashed and looked up, and who the operator behind a request is.

A secret is 256 random bits, so one round of SHA-256 is enough to store it, and looking it up by its hash takes no
time that depends on the secret.
"""

import hashlib
import secrets
from typing import Final

from sqlmodel import Session, select

from shoal_hub.database import utc_now
from shoal_hub.errors import UnauthenticatedError
from shoal_hub.ids import new_id
from shoal_hub.operators.tables import OperatorToken

OPERATOR_PREFIX: Final = "shoal_"
_SECRET_BYTES: Final = 32


def hash_secret(secret: str) -> str:
    """Return the form in which a secret is stored: SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_secret() -> str:
    """Make a secret of 256 bits, 43 URL-safe characters."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def create_operator_token(session: Session, name: str) -> str:
    """Store a new operator token and return its text, which cannot be read again."""
    text = OPERATOR_PREFIX + new_secret()
    session.add(OperatorToken(id=new_id("op"), name=name, secret_sha256=hash_secret(text), created_at=utc_now()))
    return text


def find_operator(session: Session, token: str | None) -> OperatorToken:
    """Return who shows `token`.

    Raises:
        UnauthenticatedError: No token, or one that the hub does not know or no longer takes.
    """
    if token is None:
        raise UnauthenticatedError(
            "no operator token was sent", "send  Authorization: Bearer shoal_…  or run `shoal login`"
        )
    wanted = select(OperatorToken).where(OperatorToken.secret_sha256 == hash_secret(token))
    row = session.exec(wanted).one_or_none()
    if row is None or row.revoked_at is not None:
        raise UnauthenticatedError(
            "the operator token is not one of this hub's, or was revoked",
            "run `shoal login` with a token of this hub; the first one is in the profile that `shoal hub up` wrote",
        )
    return row
