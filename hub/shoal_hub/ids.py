"""Short readable ids of rollouts, deployments, jobs, runs and tokens: `<prefix>-<8 base32 characters>`."""

import base64
import secrets
from collections.abc import Callable

_RANDOM_BYTES = 5


def new_id(prefix: str, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Make an id from 40 random bits; the primary key catches the one-in-a-trillion clash."""
    return f"{prefix}-{base64.b32encode(random_bytes(_RANDOM_BYTES)).decode().lower()}"
