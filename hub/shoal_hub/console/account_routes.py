"""Routes of one's own account: API tokens made and revoked, and the password changed."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse, Response
from pydantic import SecretStr

from shoal_hub.console.pages import render
from shoal_hub.console.visitors import COOKIE, Limits, Sender, Visit, Visitor
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading, Writing
from shoal_hub.errors import HubError
from shoal_hub.operators.passwords import MAX_PASSWORD_CHARACTERS, MIN_PASSWORD_CHARACTERS
from shoal_hub.operators.roles import Role, Scope
from shoal_hub.operators.tables import User
from shoal_hub.operators.tokens import MAX_TOKEN_DAYS, create_token, list_tokens, revoke_token
from shoal_hub.operators.users import change_own_password
from shoal_hub.requests import Line

router = APIRouter(prefix="/account", include_in_schema=False)


@router.get("")
def read_account(session: Reading, visitor: Visitor) -> Response:
    """Show one's tokens and the forms."""
    return _page(session, visitor) if visitor else RedirectResponse("/login", 303)


@router.post("/tokens")
def make_token(
    session: Writing,
    sender: Sender,
    role: Annotated[Role, Form()],
    days: Annotated[int, Form(ge=1, le=MAX_TOKEN_DAYS)],
    scopes: Annotated[list[Scope], Form(max_length=len(Scope))],
    label: Annotated[Line, Form()] = "",
) -> Response:
    """Make a token for oneself and show it, this once."""
    owner = session.get_one(User, sender.principal.id)
    made = create_token(
        session,
        owner,
        label=label,
        role=role,
        scopes=scopes,
        life=timedelta(days=days),
        by=sender.principal,
        now=utc_now(),
    )
    session.flush()
    return _page(session, sender, token=made.text)


@router.post("/tokens/{token_id}/revoke")
def withdraw_token(token_id: Line, session: Writing, sender: Sender) -> Response:
    """Withdraw one of one's own tokens."""
    who = sender.principal
    revoke_token(session, token_id, by=who.name, now=utc_now(), of_user=who.id)
    return RedirectResponse("/account", 303)


@router.post("/password")
def change_password(
    hub: Hub,
    sender: Sender,
    limits: Limits,
    current: Annotated[SecretStr, Form(max_length=MAX_PASSWORD_CHARACTERS)],
    new: Annotated[SecretStr, Form(min_length=MIN_PASSWORD_CHARACTERS, max_length=MAX_PASSWORD_CHARACTERS)],
) -> Response:
    """Change one's password; every session ends, this one too."""
    try:
        limits.take(sender.principal.address, sender.principal.name)
        with hub.database.transaction() as session:
            user = session.get_one(User, sender.principal.id)
            change_own_password(session, user, current.get_secret_value(), new.get_secret_value())
    except HubError as error:
        with hub.database.session() as session:
            return _page(session, sender, error.status, problem=f"{error.message}; {error.remedy}")
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return response


def _page(session: Reading, visit: Visit, status: int = 200, *, token: str = "", problem: str = "") -> Response:
    who = visit.principal
    user = session.get_one(User, who.id)
    return render(
        "account.html",
        status,
        visit=visit,
        tokens=[row for row, _ in list_tokens(session, who.id)],
        has_password=user.password_hash is not None,
        roles=[role for role in Role if who.role.includes(role)],
        scopes=[scope for scope in Scope if scope in who.scopes],
        most_days=MAX_TOKEN_DAYS,
        least_characters=MIN_PASSWORD_CHARACTERS,
        token=token,
        problem=problem,
    )
