"""Users, their API tokens and console sessions, and logins on their way.

Of what lets somebody in, only hashes are kept.
"""

from datetime import datetime

from sqlalchemy import JSON, Dialect, String, UniqueConstraint
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from shoal_hub.database import SECRET, UNAUDITED, UtcDateTime
from shoal_hub.operators.roles import Role


class RoleText(TypeDecorator[Role]):
    """A role as text."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Role | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the role's word."""
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Dialect) -> Role | None:  # noqa: ARG002
        """Return the role of this word."""
        return None if value is None else Role(value)


class User(SQLModel, table=True):
    """A person or a program that uses the hub, known by a password here or by an OIDC provider's subject."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("oidc_issuer", "oidc_subject"),)

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    role: Role = Field(sa_type=RoleText)
    password_hash: str | None = Field(
        default=None, description="argon2id; none: no login by password", sa_column_kwargs={"info": SECRET}
    )
    oidc_issuer: str | None = None
    oidc_subject: str | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class OperatorToken(SQLModel, table=True):
    """A token with which a user's programs call the API."""

    __tablename__ = "operator_tokens"

    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", index=True)
    label: str
    role: Role = Field(sa_type=RoleText, description="the most that it may; the user's own role may be less")
    scopes: list[str] = Field(sa_type=JSON)
    secret_sha256: str = Field(unique=True, sa_column_kwargs={"info": SECRET})
    created_by: str
    holders: list[str] = Field(
        sa_type=JSON,
        description="ids of the users who may know it: its own, who made it, and who may know what it was made with",
    )
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(
        default=None, sa_type=UtcDateTime, description="none for the one that the hub keeps beside its keys"
    )
    # Unaudited: what a token is used for is audited by itself.
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime, sa_column_kwargs={"info": UNAUDITED})
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ConsoleSession(SQLModel, table=True):
    """A browser's session; gone when it has ended. One that a token opened ends with the token."""

    __tablename__ = "console_sessions"
    __table_args__ = {"info": UNAUDITED}  # a login is recorded by name, not by its secret's hash

    secret_sha256: str = Field(primary_key=True, sa_column_kwargs={"info": SECRET})
    user_id: str = Field(foreign_key="users.id", index=True)
    token_id: str | None = Field(default=None, foreign_key="operator_tokens.id")
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)


class OidcLogin(SQLModel, table=True):
    """A login that was sent to the provider and has not come back; gone as soon as it does."""

    __tablename__ = "oidc_logins"
    __table_args__ = {"info": UNAUDITED}  # nobody is in yet; the login that comes of it is audited

    state_sha256: str = Field(primary_key=True)
    browser_sha256: str = Field(description="of the cookie: another browser cannot finish this login")
    nonce: str
    code_verifier: str
    redirect_uri: str
    expires_at: datetime = Field(sa_type=UtcDateTime)
