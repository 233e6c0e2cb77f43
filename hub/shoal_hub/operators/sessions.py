"""Console sessions: kept at the hub, named by a secret in the browser's cookie, and ended there.

A session ends when its time is up, when nobody came for a while, at logout, and with its user or token.
"""

import hashlib
import hmac
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, delete, or_

from shoal_hub.database import Database
from shoal_hub.errors import UnauthenticatedError
from shoal_hub.operators.roles import ALL_SCOPES, Principal
from shoal_hub.operators.tables import ConsoleSession, OperatorToken, User
from shoal_hub.operators.tokens import is_good, principal_of
from shoal_hub.security import hash_secret, new_secret
from shoal_hub.settings import Settings

_COMING_IS_NOTED_EVERY: Final = timedelta(seconds=30)
_REMEDY: Final = "log in again"


def open_session(
    session: Session, settings: Settings, user: User, token: OperatorToken | None, now: datetime, *, former: str | None
) -> str:
    """Open a session and return its secret; the browser's former one ends, so that no known secret is ever raised.

    Args:
        session: An open transaction.
        settings: How long it may last.
        user: Whose it is.
        token: The token that was shown, if it was one.
        now: The time.
        former: The secret that the browser had before.
    """
    statement = delete(ConsoleSession).where(
        or_(
            col(ConsoleSession.expires_at) <= now,
            col(ConsoleSession.secret_sha256) == hash_secret(former or ""),
        )
    )
    session.connection().execute(statement)
    secret = new_secret()
    row = ConsoleSession(
        secret_sha256=hash_secret(secret),
        user_id=user.id,
        token_id=token.id if token else None,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.session_s),
        last_seen_at=now,
    )
    session.add(row)
    return secret


def find_session(database: Database, settings: Settings, secret: str | None, now: datetime, address: str) -> Principal:
    """Return whose session a secret names.

    Raises:
        UnauthenticatedError: There is none, it is over, or its user or token is let in no more.
    """
    key = hash_secret(secret or "")
    with database.session() as session:
        row = session.get(ConsoleSession, key)
        user = session.get(User, row.user_id) if row else None
        token = session.get(OperatorToken, row.token_id) if row and row.token_id else None
    if row is None or user is None:
        raise UnauthenticatedError("there is no session", _REMEDY)
    if _is_over(row, settings, now) or not _is_let_in(user, token, now):
        raise UnauthenticatedError("the session is over", _REMEDY)
    if now - row.last_seen_at >= _COMING_IS_NOTED_EVERY:
        _note_coming(database, key, now)
    if token is None:
        return Principal(
            user.id, user.name, user.role, ALL_SCOPES, "session", key, address, holders=frozenset({user.id})
        )
    return replace(principal_of(token, user, address), source="session", source_id=key)


def _is_over(row: ConsoleSession, settings: Settings, now: datetime) -> bool:
    return now >= row.expires_at or now - row.last_seen_at >= timedelta(seconds=settings.session_idle_s)


def _is_let_in(user: User, token: OperatorToken | None, now: datetime) -> bool:
    return user.disabled_at is None and (token is None or is_good(token, user, now))


def is_still_in(session: Session, settings: Settings, principal: Principal, now: datetime) -> bool:
    """Whether a caller who was let in before still is: a stream outlives the request that opened it."""
    user = session.get(User, principal.id)
    if user is None:
        return False
    token_id: str | None = principal.source_id
    if principal.source == "session":
        row = session.get(ConsoleSession, principal.source_id)
        if row is None or _is_over(row, settings, now):
            return False
        token_id = row.token_id
    return _is_let_in(user, session.get_one(OperatorToken, token_id) if token_id else None, now)


def end_session(session: Session, secret: str | None) -> None:
    """End the session that a secret names."""
    ended = delete(ConsoleSession).where(col(ConsoleSession.secret_sha256) == hash_secret(secret or ""))
    session.connection().execute(ended)


def csrf_token(secret: str) -> str:
    """Return what every form of a session carries: only who can read the session's pages can know it."""
    return hmac.new(secret.encode(), b"shoal console form", hashlib.sha256).hexdigest()


def is_csrf_token(secret: str, shown: str) -> bool:
    """Whether a form carries its session's token."""
    return hmac.compare_digest(csrf_token(secret).encode(), shown.encode("utf-8", "surrogatepass"))


def _note_coming(database: Database, key: str, now: datetime) -> None:
    with database.transaction() as session:
        row = session.get(ConsoleSession, key)
        if row is not None:
            row.last_seen_at = now
            session.add(row)
