"""Who looks at the console: the browser's session, and that a form was sent from a page of it.

Reading needs a session. Whatever changes something needs its `Sender`: a session, the form's token, and a browser that
says that the form stood on this site.
"""

from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Form, Header, Request

from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, address_of, check_right
from shoal_hub.errors import RefusedError, UnauthenticatedError
from shoal_hub.operators.login import LoginLimits
from shoal_hub.operators.roles import Principal, Role, Scope
from shoal_hub.operators.sessions import csrf_token, find_session, is_csrf_token

COOKIE: Final = "__Host-shoal"
"""The prefix has browsers insist on Secure, no domain and the whole site."""


@dataclass(frozen=True)
class Visit:
    """A browser with a session: as whom, and what its forms carry."""

    principal: Principal
    csrf: str


def _visit(request: Request, hub: Hub) -> Visit | None:
    secret = request.cookies.get(COOKIE)
    try:
        principal = find_session(hub.database, hub.settings, secret, utc_now(), address_of(request))
    except UnauthenticatedError:
        return None
    request.state.actor = principal
    return Visit(principal, csrf_token(secret or ""))


def from_here(request: Request) -> None:
    """Let pass what a page of this site sent; every browser says where a form stood.

    Raises:
        RefusedError: It stood elsewhere, or nothing says where.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        is_ours = site in {"same-origin", "none"}
    else:
        is_ours = origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    if not is_ours:
        raise RefusedError("the form was sent from another site", "open the console itself")


Visitor = Annotated[Visit | None, Depends(_visit)]


def _sender(
    request: Request,
    visitor: Visitor,
    csrf: Annotated[str, Form(max_length=128)] = "",
    x_csrf_token: Annotated[str, Header(max_length=128)] = "",
) -> Visit:
    from_here(request)
    if visitor is None:
        raise UnauthenticatedError("there is no session", "log in to the console")
    if not is_csrf_token(request.cookies.get(COOKIE, ""), csrf or x_csrf_token):
        raise RefusedError("the form does not carry its session's token", "load the page again and send its form")
    return visitor


def _limits(request: Request) -> LoginLimits:
    limits: LoginLimits = request.app.state.login_limits
    return limits


Limits = Annotated[LoginLimits, Depends(_limits)]
"""How often one may still try to log in."""
Sender = Annotated[Visit, Depends(_sender)]


def may_read(visit: Visit | None) -> bool:
    """Whether a visitor sees the fleet.

    Raises:
        RefusedError: The token that opened the session is for something else.
    """
    if visit is None:
        return False
    check_right(visit.principal, Role.VIEWER, Scope.READ)
    return True
