"""Console sessions: a cookie that names an operator token's row until a time, signed by a key of the hub.

The token itself is never in the cookie, and a revoked token ends its sessions at the next request.
"""

import hashlib
import hmac
from pathlib import Path
from typing import Final

from sqlmodel import Session

from shoal_hub.errors import UnauthenticatedError
from shoal_hub.operators.tables import OperatorToken
from shoal_hub.trust.keystore import Keystore

COOKIE: Final = "__Host-shoal"
"""The prefix has browsers insist on Secure, no domain and the whole site."""
_REMEDY: Final = "log in with an operator's token"


def read_session_key(trust_dir: Path) -> bytes:
    """Return the key that signs sessions: the 256 random bits of a key of the keystore, made at first use."""
    return Keystore.open(trust_dir).read_or_make("session").private_bytes_raw()


def make_session(key: bytes, operator_id: str, expires_at_s: int) -> str:
    """Return the cookie's value."""
    content = f"{operator_id}.{expires_at_s}"
    return f"{content}.{_mac(key, content)}"


def open_session(key: bytes, cookie: str | None, session: Session, now_s: float) -> OperatorToken:
    """Return whose session a cookie is.

    Raises:
        UnauthenticatedError: There is none, it is forged or over, or its token was revoked.
    """
    content, _, mac = (cookie or "").rpartition(".")
    if not hmac.compare_digest(mac.encode(), _mac(key, content).encode()):
        raise UnauthenticatedError("there is no session", _REMEDY)
    operator_id, _, expires_at_s = content.rpartition(".")
    operator = session.get(OperatorToken, operator_id)
    if operator is None or operator.revoked_at is not None or now_s >= int(expires_at_s):
        raise UnauthenticatedError("the session is over", _REMEDY)
    return operator


def _mac(key: bytes, content: str) -> str:
    return hmac.new(key, b"shoal console session\0" + content.encode(), hashlib.sha256).hexdigest()
