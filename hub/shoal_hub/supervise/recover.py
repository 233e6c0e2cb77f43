"""The way back in for an organisation whose last admin has lost every token and password: from the hub's machine.

Who may run this has the hub's keys and database in hands anyhow. What it gives is short-lived, and everybody is told.
"""

import os
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from shoal_client.profile import Profile, profile_path, write_profile
from shoal_hub.addresses import Addresses
from shoal_hub.audit.actor import COMMAND_LINE
from shoal_hub.audit.record import record
from shoal_hub.database import Database
from shoal_hub.errors import ConflictError, DatabaseError, InvalidInputError, RefusedError
from shoal_hub.events.record import record_event
from shoal_hub.operators.roles import ALL_SCOPES, Role, Scope
from shoal_hub.operators.tables import OperatorToken, User
from shoal_hub.operators.tokens import NewToken, create_token, revoke_token
from shoal_hub.operators.users import USER_NAME_PATTERN, create_user
from shoal_hub.settings import Settings

_DOING = "letting an admin in again"
_LABEL = "recovery"
_FILE = "recovery.json"
"""Beside the CLI's usual profile, which stays as it is."""


class Recovered(NamedTuple):
    """Where the profile with the token is, and until when the token is good."""

    path: Path
    expires_at: datetime


def recover_admin(settings: Settings, name: str, now: datetime) -> Recovered:
    """Make a short-lived admin token for an admin, who is made if there is none of this name; the hub may run or not.

    The token goes into a CLI profile that only its owner can read, and is shown nowhere. A recovery token of before is
    revoked. Nobody approves by it: that takes the admin's own password.

    Args:
        settings: Of the hub.
        name: The admin's.
        now: The clock.

    Raises:
        NotRunningError: No hub has been started on this data folder.
        RefusedError: The data folder belongs to another account.
        InvalidInputError: The name is none.
        ConflictError: There is a user of this name who is no admin, or is disabled.
        DatabaseError: The database does not answer, or is of another version.
        ProfileError: The profile cannot be written; nothing has changed.
    """
    addresses = Addresses.read(settings)
    _require_own(settings.data)
    if not re.fullmatch(USER_NAME_PATTERN, name):
        raise InvalidInputError(f"{_DOING}: {name!r} is no user's name", "use lower case, like ada or ada@example.org")
    ca_path = settings.data / "trust" / "ca.pem"
    database = Database(settings.database)
    try:
        with database.transaction() as session:
            made = _make(session, name, now, timedelta(seconds=settings.recovery_life_s))
            profile = Profile(url=addresses.api_url, token=SecretStr(made.text), ca_path=ca_path)
            path = write_profile(profile, profile_path().with_name(_FILE))
    except SQLAlchemyError as error:
        raise DatabaseError(
            f"{_DOING}: {type(error).__name__}", "check SHOAL_DATABASE_URL, and start this version of the hub once"
        ) from error
    finally:
        database.close()
    return Recovered(path, now + timedelta(seconds=settings.recovery_life_s))


def _require_own(data: Path) -> None:
    """Keep files of another account, root for one, out of the data folder: the hub could not open them.

    Raises:
        RefusedError: The folder belongs to somebody else.
    """
    owner, caller = data.stat().st_uid, os.geteuid()
    if owner != caller:
        raise RefusedError(
            f"{_DOING}: {data} belongs to the account {owner}, and this is {caller}",
            f"run it as the hub's account: sudo -u '#{owner}' SHOAL_DATA={data} shoal hub recover-admin",
        )


def _make(session: Session, name: str, now: datetime, life: timedelta) -> NewToken:
    is_former = col(OperatorToken.label) == _LABEL, col(OperatorToken.created_by) == "hub"
    still_good = select(OperatorToken.id).where(*is_former, col(OperatorToken.revoked_at).is_(None))
    for token_id in session.exec(still_good).all():
        revoke_token(session, token_id, by=COMMAND_LINE.name, now=now)
    user, is_new = _admin(session, name, now)
    made = create_token(
        session,
        user,
        label=_LABEL,
        role=Role.ADMIN,
        scopes=ALL_SCOPES - {Scope.APPROVALS},
        life=life,
        by=None,
        now=now,
    )
    after = {"token": made.row.id, "expires_at": (now + life).isoformat(), "is_new_user": is_new}
    record(session, COMMAND_LINE, "operators.recover_admin", f"users/{name}", {}, after)
    text = f"on the hub's machine, somebody made an admin token of {name} for {life.total_seconds():.0f} s"
    record_event(session, "admin_recovered", text, subject=f"user/{name}", severity="warning", at=now)
    return made


def _admin(session: Session, name: str, now: datetime) -> tuple[User, bool]:
    """Return the admin of a name, and whether they were made for it."""
    user = session.exec(select(User).where(User.name == name)).first()
    if user is None:
        return create_user(session, name, Role.ADMIN, password=None, by=COMMAND_LINE.name, now=now), True
    if user.role is not Role.ADMIN or user.disabled_at is not None:
        found = f"{user.role}, and disabled" if user.disabled_at is not None else str(user.role)
        raise ConflictError(
            f"{_DOING}: the user {name} is {found}, not an admin", "name an admin, or somebody new, who is made"
        )
    return user, False
