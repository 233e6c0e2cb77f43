"""Passwords: kept as argon2id hashes, and compared in a time that does not tell whether there is one."""

from functools import cache
from typing import Annotated, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import AfterValidator, Field, SecretStr

from shoal_hub.operators.turns import Turns

MIN_PASSWORD_CHARACTERS: Final = 12
MAX_PASSWORD_CHARACTERS: Final = 256


def _check_length(password: SecretStr) -> SecretStr:
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        msg = f"a password has {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters"
        raise ValueError(msg)
    return password


Password = Annotated[
    SecretStr,
    AfterValidator(_check_length),
    Field(json_schema_extra={"minLength": MIN_PASSWORD_CHARACTERS, "maxLength": MAX_PASSWORD_CHARACTERS}),
]

_hasher = PasswordHasher()
_turns: Final = Turns(at_once=2, waiting=8)
"""Each verification takes 64 MiB for its time."""


def hash_password(password: str) -> str:
    """Return the form in which a password is stored: argon2id with a salt of its own (RFC 9106)."""
    return _hasher.hash(password.encode("utf-8", "surrogatepass"))


def is_password(password: str, stored: str | None) -> bool:
    """Whether a password is the stored one; without a stored one, False after the same work.

    Raises:
        TooManyRequestsError: Too many are being verified.
    """
    with _turns.taken():
        try:
            nobodys = _nobodys()
            _hasher.verify(stored or nobodys, password.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            return False
    return stored is not None


@cache
def _nobodys() -> str:
    """Return what a password is compared with where none is stored; made at the first question, with or without one."""
    return _hasher.hash(b"nobody has this one")
