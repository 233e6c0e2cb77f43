"""Routes of operators: who the caller is, the users, and their API tokens."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from shoal_hub.database import utc_now
from shoal_hub.dependencies import Admin, Caller, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.operators import tokens, users
from shoal_hub.operators.passwords import Password
from shoal_hub.operators.roles import Role, Scope
from shoal_hub.operators.tables import OperatorToken, User
from shoal_hub.requests import Line

router = APIRouter(tags=["operators"])

_DAY_S = 86_400
_BY_BODY = documented(400, 401, 403, 404, 409, 413, 422)


class CallerPublic(BaseModel):
    """Who a token speaks for, and what it may."""

    id: str
    name: str
    role: Role
    scopes: list[Scope]
    token_id: str


class UserPublic(BaseModel):
    """A user; `comes_by` says how one logs in to the console."""

    id: str
    name: str
    role: Role
    comes_by: str
    created_at: datetime
    disabled_at: datetime | None


class UserCreate(BaseModel):
    """A new user; without a password, one that comes in by token alone."""

    name: users.UserName
    role: Role
    password: Password | None = None


class UserUpdate(BaseModel):
    """What changes of a user; what is left out stays."""

    role: Role | None = None
    is_disabled: bool | None = None


class PasswordReset(BaseModel):
    """A user's next password."""

    password: Password


class OperatorTokenCreate(BaseModel):
    """What a new token is for; it never may more than its user, nor than who makes it."""

    user: users.UserName
    label: Line = ""
    role: Role
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))] = [Scope.READ]
    expires_in_s: int = Field(default=90 * _DAY_S, ge=60, le=tokens.MAX_TOKEN_DAYS * _DAY_S)


class OperatorTokenPublic(BaseModel):
    """A token without its secret."""

    id: str
    user: str
    label: str
    role: Role
    scopes: list[Scope]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class OperatorTokenCreated(OperatorTokenPublic):
    """A new token; `token` is shown this once."""

    token: str


@router.get("/operator", responses=documented(401))
def read_operator(caller: Caller) -> CallerPublic:
    """Return who the caller is; `shoal login` checks its token with this."""
    return CallerPublic(
        id=caller.id, name=caller.name, role=caller.role, scopes=sorted(caller.scopes), token_id=caller.source_id
    )


@router.get("/users", responses=documented(401, 403))
def list_users(session: Reading, _viewer: Viewer) -> list[UserPublic]:
    """List users by name."""
    return [user_public(user) for user in users.list_users(session)]


@router.post("/users", status_code=201, responses=documented(400, 401, 403, 409, 413, 422))
def create_user(body: UserCreate, session: Writing, admin: Admin) -> UserPublic:
    """Make a user."""
    password = body.password.get_secret_value() if body.password else None
    user = users.create_user(session, body.name, body.role, password=password, by=admin.name, now=utc_now())
    return user_public(user)


@router.patch("/users/{name}", responses=_BY_BODY)
def update_user(name: Line, body: UserUpdate, session: Writing, admin: Admin) -> UserPublic:
    """Give a user another role, or let one in no more; tokens and open sessions follow at once."""
    user = users.find_user(session, name, is_locked=True)
    if body.is_disabled is not None:
        if body.is_disabled:
            users.disable_user(session, user, by=admin.name, now=utc_now())
        else:
            users.enable_user(session, user, by=admin.name)
    if body.role is not None and body.role is not user.role:
        users.set_role(session, user, body.role, by=admin.name)
    return user_public(user)


@router.put("/users/{name}/password", responses=_BY_BODY)
def reset_password(name: Line, body: PasswordReset, session: Writing, admin: Admin) -> UserPublic:
    """Give a user a password, and end their sessions."""
    user = users.find_user(session, name, is_locked=True)
    users.reset_password(session, user, body.password.get_secret_value(), by=admin.name)
    return user_public(user)


@router.get("/operator-tokens", responses=documented(401, 403))
def list_operator_tokens(session: Reading, viewer: Viewer) -> list[OperatorTokenPublic]:
    """List API tokens, newest first: an admin's list has everybody's, another's their own."""
    of_user = None if viewer.role is Role.ADMIN else viewer.id
    return [token_public(row, user) for row, user in tokens.list_tokens(session, of_user)]


@router.post("/operator-tokens", status_code=201, responses=documented(400, 401, 403, 404, 413, 422))
def create_operator_token(body: OperatorTokenCreate, session: Writing, admin: Admin) -> OperatorTokenCreated:
    """Make an API token for a user. Its text is shown once."""
    owner = users.find_user(session, body.user)
    made = tokens.create_token(
        session,
        owner,
        label=body.label,
        role=body.role,
        scopes=body.scopes,
        life=timedelta(seconds=body.expires_in_s),
        by=admin,
        now=utc_now(),
    )
    return OperatorTokenCreated(**token_public(made.row, owner).model_dump(), token=made.text)


@router.delete("/operator-tokens/{token_id}", responses=documented(401, 403, 404, 422))
def revoke_operator_token(token_id: Line, session: Writing, admin: Admin) -> OperatorTokenPublic:
    """Withdraw an API token, and every session that it opened."""
    row, user = tokens.revoke_token(session, token_id, by=admin.name, now=utc_now())
    return token_public(row, user)


def user_public(user: User) -> UserPublic:
    """Return a user as the API shows one."""
    comes_by = user.oidc_issuer or ("password" if user.password_hash else "token")
    return UserPublic.model_validate({**user.model_dump(exclude={"password_hash"}), "comes_by": comes_by})


def token_public(row: OperatorToken, user: User) -> OperatorTokenPublic:
    """Return a token as the API shows one."""
    return OperatorTokenPublic.model_validate({**row.model_dump(exclude={"secret_sha256"}), "user": user.name})
