"""Short readable ids of rollouts, deployments, jobs, runs and tokens: `<prefix>-<8 base32 characters>`."""

import base64
import secrets
from collections.abc import Callable

_RANDOM_BYTES = 5
_CHARACTERS = 8


def new_id(prefix: str, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Make an id from 40 random bits; the primary key catches the one-in-a-trillion clash."""
    (made,) = new_ids(prefix, 1, random_bytes)
    return made


def new_ids(prefix: str, count: int, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> list[str]:
    """Make many ids at once, each as `new_id` makes one."""
    text = base64.b32encode(random_bytes(_RANDOM_BYTES * count)).decode().lower()
    return [f"{prefix}-{text[start : start + _CHARACTERS]}" for start in range(0, len(text), _CHARACTERS)]
