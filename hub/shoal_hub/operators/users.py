"""Users: made, given a role, disabled, given another password. There is always an admin who can come in."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import StringConstraints
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, select

from shoal_hub.errors import ConflictError, NotFoundError, RefusedError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.operators.passwords import hash_password, is_password
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tables import ConsoleSession, User

USER_NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._@+-]{0,63}$"
_MOST_LISTED: Final = 10_000
UserName = Annotated[str, StringConstraints(pattern=USER_NAME_PATTERN)]
"""Lower case, so that no two names look the same: `ada`, `ada@example.org`."""


def create_user(session: Session, name: str, role: Role, *, password: str | None, by: str, now: datetime) -> User:
    """Make a user; without a password, one that comes in by token alone.

    Raises:
        ConflictError: The name is taken.
    """
    hashed = hash_password(password) if password is not None else None
    session.add(user := User(id=new_id("u"), name=name, role=role, password_hash=hashed, created_at=now))
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(
            f"there is a user {name} already", "choose another name, or see them: shoal users list"
        ) from error
    record_event(session, "user_created", f"user {name} made as {role} by {by}", subject=f"user/{name}", at=now)
    return user


def find_user(session: Session, name: str, *, is_locked: bool = False) -> User:
    """Return a user by name; locked, nobody else changes it before this transaction has ended.

    Raises:
        NotFoundError: There is none.
    """
    wanted = select(User).where(User.name == name)
    user = session.exec(wanted.with_for_update() if is_locked else wanted).first()
    if user is None:
        raise NotFoundError(f"no user {name}", "list them: shoal users list")
    return user


def list_users(session: Session) -> list[User]:
    """Return users by name, 10,000 at most."""
    return list(session.exec(select(User).order_by(col(User.name)).limit(_MOST_LISTED)))


def set_role(session: Session, user: User, role: Role, *, by: str) -> None:
    """Give a user another role; tokens and open sessions follow at once.

    Raises:
        ConflictError: No admin would be left.
    """
    if role is not Role.ADMIN:
        _keep_an_admin(session, user)
    before, user.role = user.role, role
    session.add(user)
    record_event(session, "user_role", f"user {user.name}: {before} to {role} by {by}", subject=f"user/{user.name}")


def disable_user(session: Session, user: User, *, by: str, now: datetime) -> None:
    """Let a user in no more, by whatever way; what was theirs stays.

    Raises:
        ConflictError: No admin would be left.
    """
    if user.disabled_at is not None:
        return
    _keep_an_admin(session, user)
    user.disabled_at = now
    session.add(user)
    end_sessions(session, user.id)
    record_event(session, "user_disabled", f"user {user.name} disabled by {by}", subject=f"user/{user.name}")


def enable_user(session: Session, user: User, *, by: str) -> None:
    """Let a disabled user in again."""
    if user.disabled_at is not None:
        user.disabled_at = None
        session.add(user)
        record_event(session, "user_enabled", f"user {user.name} enabled by {by}", subject=f"user/{user.name}")


def reset_password(session: Session, user: User, password: str, *, by: str) -> None:
    """Give a user a password and end every session of theirs; API tokens stay.

    Raises:
        ConflictError: The user comes by OIDC.
    """
    if user.oidc_issuer is not None:
        raise ConflictError(
            f"user {user.name} logs in at {user.oidc_issuer}", "change the password there, or make a user for this hub"
        )
    user.password_hash = hash_password(password)
    session.add(user)
    end_sessions(session, user.id)
    record_event(session, "user_password", f"password of {user.name} set by {by}", subject=f"user/{user.name}")


def change_own_password(session: Session, user: User, current: str, new: str) -> None:
    """Change a password for who knows the present one.

    Raises:
        RefusedError: The present one is another.
    """
    if not is_password(current, user.password_hash):
        raise RefusedError("the present password is another", "type it again, or ask an admin to reset it")
    reset_password(session, user, new, by=user.name)


def end_sessions(session: Session, user_id: str) -> None:
    """End every console session of a user."""
    session.connection().execute(delete(ConsoleSession).where(col(ConsoleSession.user_id) == user_id))


def _keep_an_admin(session: Session, user: User) -> None:
    """See to it that somebody else is admin.

    Raises:
        ConflictError: Nobody is.
    """
    wanted = select(User).where(User.role == Role.ADMIN, col(User.disabled_at).is_(None)).order_by(col(User.id))
    admins = session.exec(wanted.with_for_update()).all()  # two admins who demote each other come one after the other
    if [admin.id for admin in admins] == [user.id]:
        raise ConflictError(f"{user.name} is the last admin", "make another one first: shoal users set-role NAME admin")
