"""Routes of the console: login, the page, its live parts, and the stream that has them fetched again."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, FastAPI, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles

from shoal_hub.console.pages import render
from shoal_hub.console.sessions import COOKIE, make_session, open_session, read_session_key
from shoal_hub.context import HubContext
from shoal_hub.dependencies import Hub, Reading
from shoal_hub.devices.routes import list_devices
from shoal_hub.errors import RefusedError, UnauthenticatedError
from shoal_hub.events.watch import watch
from shoal_hub.operators.tables import OperatorToken
from shoal_hub.rollouts.routes import list_rollouts
from shoal_hub.security import find_operator

router = APIRouter(include_in_schema=False)

_ROLLOUTS: Final = 20
_STATIC: Final = Path(__file__).parent / "static"


def install_console(app: FastAPI) -> None:
    """Add the console to the API's application."""
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")


def _visitor(request: Request, hub: Hub) -> OperatorToken | None:
    key = read_session_key(hub.settings.data / "trust")
    # Not the request's own session: that one stays open as long as the answer, and the stream's answer never ends.
    with hub.database.session() as session:
        try:
            return open_session(key, request.cookies.get(COOKIE), session, time.time())
        except UnauthenticatedError:
            return None


def _from_here(request: Request) -> None:
    # Browsers say where a request comes from; a form on another site must not log anybody in or out.
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise RefusedError("the form was sent from another site", "open the console itself")


Visitor = Annotated[OperatorToken | None, Depends(_visitor)]


@router.get("/")
def read_page(visitor: Visitor) -> Response:
    """Show the page, or the way to log in."""
    return render("page.html", operator=visitor.name) if visitor else RedirectResponse("/login", 303)


@router.get("/login")
def read_login(visitor: Visitor) -> Response:
    """Show the form for an operator's token."""
    return RedirectResponse("/", 303) if visitor else render("login.html", problem="")


@router.post("/login", dependencies=[Depends(_from_here)])
def log_in(hub: Hub, session: Reading, token: Annotated[str, Form(max_length=256)]) -> Response:
    """Open a session for the operator whose token this is."""
    try:
        operator = find_operator(session, token.strip())
    except UnauthenticatedError as error:
        return render("login.html", 401, problem=error.message)
    expires_at_s = int(time.time() + hub.settings.session_s)
    cookie = make_session(read_session_key(hub.settings.data / "trust"), operator.id, expires_at_s)
    response = RedirectResponse("/", 303)
    life_s = int(hub.settings.session_s)
    response.set_cookie(COOKIE, cookie, max_age=life_s, path="/", secure=True, httponly=True, samesite="strict")
    return response


@router.post("/logout", dependencies=[Depends(_from_here)])
def log_out() -> Response:
    """End the browser's session."""
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return response


@router.get("/console/devices")
def read_devices(request: Request, visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return the table of devices."""
    if visitor is None:
        return _log_in_again()
    url = str(request.base_url).rstrip("/")
    return render("devices.html", devices=list_devices(session, visitor), url=url)


@router.get("/console/rollouts")
def read_rollouts(visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return the table of rollouts."""
    if visitor is None:
        return _log_in_again()
    return render("rollouts.html", rollouts=list_rollouts(session, visitor, limit=_ROLLOUTS))


@router.get("/console/stream")
def stream(visitor: Visitor, hub: Hub) -> Response:
    """Send an event for each thing that has changed: `devices`, `rollouts`, `events`."""
    if visitor is None:
        return _log_in_again()
    return StreamingResponse(_events(hub), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _events(hub: HubContext) -> AsyncIterator[str]:
    async for what in watch(hub):
        yield "".join(f"event: {word}\ndata: \n\n" for word in sorted(what)) or ": still here\n\n"


def _log_in_again() -> HTMLResponse:
    response = HTMLResponse("", 401)
    response.headers["hx-redirect"] = "/login"
    return response
