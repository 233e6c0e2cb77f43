"""The two ends of a login by OIDC: sent off with a browser, and taken back from the same browser, once."""

from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, delete, select

from shoal_hub.database import Database
from shoal_hub.errors import ConflictError, RefusedError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.operators.oidc import Identity, Provider
from shoal_hub.operators.tables import OidcLogin, User
from shoal_hub.operators.turns import Turns
from shoal_hub.security import hash_secret
from shoal_hub.settings import Settings

LOGIN_LIFE_S: Final = 600
"""How long a person may take at the provider."""
_NAME_CHARACTERS: Final = 64
_turns: Final = Turns(at_once=8, waiting=0)
"""A provider that hangs holds a thread for each."""


def begin(database: Database, settings: Settings, browser: str, redirect_uri: str, now: datetime) -> str:
    """Keep what the answer will be held against, and return where the browser goes.

    Args:
        database: Where it is kept.
        settings: Which provider.
        browser: A secret in a cookie of the browser, which has to come back with the answer.
        redirect_uri: Where the provider sends the browser.
        now: The time.

    Raises:
        UnavailableError: The provider does not answer.
    """
    with _turns.taken():
        asked = Provider(settings).ask(redirect_uri)
    with database.transaction() as session:
        session.connection().execute(delete(OidcLogin).where(col(OidcLogin.expires_at) <= now))
        row = OidcLogin(
            state_sha256=hash_secret(asked.state),
            browser_sha256=hash_secret(browser),
            nonce=asked.nonce,
            code_verifier=asked.code_verifier,
            redirect_uri=redirect_uri,
            expires_at=now + timedelta(seconds=LOGIN_LIFE_S),
        )
        session.add(row)
    return asked.url


def finish(database: Database, settings: Settings, browser: str, state: str, code: str, now: datetime) -> User:
    """Take the provider's answer and return the user whom it vouches for, made at the first login.

    Raises:
        RefusedError: This browser sent off no such login, it came back before, or the provider's token is wrong.
        UnavailableError: The provider does not answer.
    """
    with database.transaction() as session:  # taken before it is believed: a second answer finds nothing
        login = _take(session, browser, state, now)
    with _turns.taken():
        identity = Provider(settings).redeem(
            code, nonce=login.nonce, code_verifier=login.code_verifier, redirect_uri=login.redirect_uri
        )
    with database.transaction() as session:
        return _user(session, identity, now)


def _take(session: Session, browser: str, state: str, now: datetime) -> OidcLogin:
    key = hash_secret(state)
    login = session.get(OidcLogin, key)
    taken = session.connection().execute(delete(OidcLogin).where(col(OidcLogin.state_sha256) == key))
    is_ours = login is not None and login.browser_sha256 == hash_secret(browser) and now < login.expires_at
    if login is None or not is_ours or taken.rowcount != 1:
        raise RefusedError(
            "this login was not begun by this browser, is over, or came back before", "begin the login again"
        )
    session.expunge(login)
    return login


def _user(session: Session, identity: Identity, now: datetime) -> User:
    """Return the provider's user, with the role that the provider gives now.

    Raises:
        RefusedError: The user is disabled here.
    """
    wanted = select(User).where(User.oidc_issuer == identity.issuer, User.oidc_subject == identity.subject)
    user = session.exec(wanted).first()
    if user is None:
        user = _add(session, identity, now)
    if user.disabled_at is not None:
        raise RefusedError(f"user {user.name} is disabled at this hub", "ask an admin of the hub")
    if user.role is not identity.role:
        message = f"user {user.name}: {user.role} to {identity.role} by {identity.issuer}"
        record_event(session, "user_role", message, subject=f"user/{user.name}")
        user.role = identity.role
        session.add(user)
    return user


def _add(session: Session, identity: Identity, now: datetime) -> User:
    """Make the user under the provider's name for it.

    Raises:
        ConflictError: Somebody else has that name here: nobody becomes them by choosing their name at the provider.
    """
    kept = (character for character in identity.name.lower() if character.isascii())
    name = "".join(one if one.isalnum() or one in "._@+-" else "-" for one in kept).lstrip("._@+-")
    name = name[:_NAME_CHARACTERS] or new_id("oidc")
    if session.exec(select(User.id).where(User.name == name)).first() is not None:
        raise ConflictError(
            f"login by {identity.issuer}: there is another user {name} at this hub",
            "use another name at the provider",
        )
    user = User(
        id=new_id("u"),
        name=name,
        role=identity.role,
        oidc_issuer=identity.issuer,
        oidc_subject=identity.subject,
        created_at=now,
    )
    session.add(user)
    session.flush()
    message = f"user {name} made as {identity.role} by {identity.issuer}"
    record_event(session, "user_created", message, subject=f"user/{name}", at=now)
    return user
