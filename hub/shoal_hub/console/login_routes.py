"""Routes that open and end sessions: by name and password, by token, and by the OIDC provider."""

import secrets
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from shoal_hub.audit.actor import Actor
from shoal_hub.audit.record import record
from shoal_hub.console.pages import render
from shoal_hub.console.visitors import COOKIE, Limits, Sender, Visitor, from_here
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Writing, address_of
from shoal_hub.errors import HubError, TooManyRequestsError, UnauthenticatedError
from shoal_hub.operators import oidc_login
from shoal_hub.operators.login import log_in_by_password
from shoal_hub.operators.passwords import MAX_PASSWORD_CHARACTERS
from shoal_hub.operators.sessions import end_session, open_session
from shoal_hub.operators.tables import OperatorToken, User
from shoal_hub.operators.tokens import find_token

router = APIRouter(include_in_schema=False)

_OIDC_COOKIE: Final = "__Host-shoal-oidc"
"""Lax, where the session's is strict: the provider's answer comes from its site, and has to find this one."""
_OIDC_CALLBACK: Final = "/login/oidc/callback"
_SHORT: Final = 256
_LONG: Final = 4096


@router.get("/login")
def read_login(hub: Hub, visitor: Visitor) -> Response:
    """Show the ways to log in."""
    return RedirectResponse("/", 303) if visitor else _login_page(hub)


@router.post("/login", dependencies=[Depends(from_here)])
def log_in(
    request: Request,
    hub: Hub,
    limits: Limits,
    name: Annotated[str, Form(max_length=_SHORT)] = "",
    password: Annotated[str, Form(max_length=MAX_PASSWORD_CHARACTERS)] = "",
    token: Annotated[str, Form(max_length=_SHORT)] = "",
) -> Response:
    """Open a session for whose name and password these are, or whose token this is."""
    address = address_of(request)
    try:
        limits.take(address, name.strip().lower())
        if token:
            with hub.database.session() as session:
                shown, user = find_token(session, token.strip(), utc_now())
        else:
            shown, user = None, log_in_by_password(hub.database, name.strip().lower(), password, address)
    except (UnauthenticatedError, TooManyRequestsError) as error:
        return _login_page(hub, error)
    return _let_in(hub, request, user, shown, RedirectResponse("/", 303))


@router.post("/logout")
def log_out(request: Request, session: Writing, _sender: Sender) -> Response:
    """End the browser's session."""
    end_session(session, request.cookies.get(COOKIE))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return response


@router.get("/login/oidc")
def begin_oidc(request: Request, hub: Hub, limits: Limits) -> Response:
    """Send the browser to the OIDC provider."""
    if not hub.settings.oidc_issuer:
        return RedirectResponse("/login", 303)
    redirect_uri = f"https://{request.url.netloc}{_OIDC_CALLBACK}"
    browser = secrets.token_urlsafe(32)
    try:
        limits.take(address_of(request))
        url = oidc_login.begin(hub.database, hub.settings, browser, redirect_uri, utc_now())
    except HubError as error:
        return _login_page(hub, error)
    response = RedirectResponse(url, 303)
    response.set_cookie(
        _OIDC_COOKIE, browser, max_age=oidc_login.LOGIN_LIFE_S, path="/", secure=True, httponly=True, samesite="lax"
    )
    return response


@router.get(_OIDC_CALLBACK)
def finish_oidc(request: Request, hub: Hub, limits: Limits) -> Response:
    """Take the OIDC provider's answer, and open a session for whom it vouches for."""
    given = request.query_params
    state, code, problem = (given.get(name, "")[:_LONG] for name in ("state", "code", "error"))
    try:
        limits.take(address_of(request))
        if problem or not hub.settings.oidc_issuer:
            raise UnauthenticatedError("the provider let nobody in", "begin the login again")
        browser = request.cookies.get(_OIDC_COOKIE, "")
        user = oidc_login.finish(hub.database, hub.settings, browser, state, code, utc_now())
    except HubError as error:
        return _login_page(hub, error)
    # No redirect: on one that began at the provider's site, browsers hold the session's strict cookie back.
    response = _let_in(hub, request, user, None, render("logged_in.html"))
    response.delete_cookie(_OIDC_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


def _let_in(hub: HubContext, request: Request, user: User, token: OperatorToken | None, response: Response) -> Response:
    with hub.database.transaction() as session:
        former = request.cookies.get(COOKIE)
        secret = open_session(session, hub.settings, user, token, utc_now(), former=former)
        actor = Actor(user.id, user.name, user.role, address_of(request))
        how = {"by": f"token {token.id}" if token else "OIDC" if user.oidc_issuer else "password"}
        record(session, actor, "operators.log_in", f"users/{user.name}", {}, how)
    life_s = int(hub.settings.session_s)
    response.set_cookie(COOKIE, secret, max_age=life_s, path="/", secure=True, httponly=True, samesite="strict")
    return response


def _login_page(hub: HubContext, error: HubError | None = None) -> Response:
    status = error.status if error else 200
    response = render(
        "login.html",
        status,
        problem=f"{error.message}; {error.remedy}" if error else "",
        issuer=hub.settings.oidc_issuer,
    )
    if isinstance(error, TooManyRequestsError):
        response.headers["retry-after"] = error.retry_after
    return response
