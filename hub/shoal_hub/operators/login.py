"""Login by password: one answer for every failure, after the same work, and not too often."""

import logging
from dataclasses import dataclass

from sqlmodel import select

from shoal_hub.database import Database
from shoal_hub.errors import UnauthenticatedError
from shoal_hub.operators.passwords import is_password
from shoal_hub.operators.tables import User
from shoal_hub.requests import RateLimit, network_of
from shoal_hub.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoginLimits:
    """How often one may try: from an address, and for an account from wherever."""

    by_address: RateLimit
    by_account: RateLimit

    @classmethod
    def of(cls, settings: Settings) -> "LoginLimits":
        """Make the limits that the settings ask for."""
        return cls(
            RateLimit(settings.login_per_minute, "logins", "SHOAL_LOGIN_PER_MINUTE"),
            RateLimit(settings.account_login_per_minute, "logins", "SHOAL_ACCOUNT_LOGIN_PER_MINUTE"),
        )

    def take(self, address: str, account: str = "") -> None:
        """Take one try.

        Raises:
            TooManyRequestsError: There is none left for now.
        """
        self.by_address.take(network_of(address), f"address {address}")
        if account:
            self.by_account.take(account, "one account")


def log_in_by_password(database: Database, name: str, password: str, address: str) -> User:
    """Return the user with this name and password.

    Raises:
        UnauthenticatedError: There is none, it is disabled, or the password is another: which, is not told.
    """
    with database.session() as session:
        user = session.exec(select(User).where(User.name == name)).first()
    # Every way to fail takes one verification, so that time tells no name.
    is_right = is_password(password, user.password_hash if user else None)
    if user is None or not is_right or user.disabled_at is not None:
        log.warning("login of %r from %s was refused", name[:64], address)
        raise UnauthenticatedError(
            "name and password do not belong together", "type them again, or ask an admin to reset the password"
        )
    return user
