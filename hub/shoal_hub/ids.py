"""Readable ids: `<prefix>-<base32 characters>`, eight of a rollout, job, run or token, sixteen of a deployment."""

import base64
import secrets
from collections.abc import Callable
from typing import Final

_RANDOM_BYTES: Final = 5
_OF_MANY_BYTES: Final = 10
_OF_MANY_CHARACTERS: Final = 16


def new_id(prefix: str, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Make an id from 40 random bits, for what comes one at a time; the primary key catches a clash."""
    return f"{prefix}-{_text(random_bytes(_RANDOM_BYTES))}"


def new_ids(prefix: str, count: int, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> list[str]:
    """Make ids from 80 random bits each, for what comes by the hundred thousand.

    Of 40 bits, one of a hundred thousand that join a million is already there in a tenth of all cases.
    """
    text = _text(random_bytes(_OF_MANY_BYTES * count))
    starts = range(0, len(text), _OF_MANY_CHARACTERS)
    return [f"{prefix}-{text[start : start + _OF_MANY_CHARACTERS]}" for start in starts]


def _text(random: bytes) -> str:
    return base64.b32encode(random).decode().lower()
