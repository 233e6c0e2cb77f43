"""Which side of a trial a key falls on: the same at the hub and on every device, today and after a restart."""

import hashlib
from typing import Final

_BITS: Final = 64


def falls_within(share: float, salt: str, key: str) -> bool:
    """Whether a key belongs to the share that gets the candidate.

    The first 64 bits of SHA-256 over salt, a zero byte and key are spread evenly, so that shares are kept over many
    keys, and a key that falls within a share falls within every larger one of the same salt.

    Args:
        share: 0 to 1.
        salt: Another one splits the keys in another, independent way.
        key: What the split sticks to: a device's id or a request's key.
    """
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return bool(int.from_bytes(digest[: _BITS // 8], "big") < share * 2**_BITS)
