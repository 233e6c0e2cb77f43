"""Routes of the console: the page, its live parts, and the stream that has them fetched again."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles

from shoal_contract.ledger import month_of
from shoal_hub.console import (
    account_routes,
    automation_routes,
    compression_routes,
    drift_routes,
    job_routes,
    login_routes,
    performance_routes,
    rollout_routes,
    run_routes,
)
from shoal_hub.console.pages import log_in_again, render
from shoal_hub.console.visitors import Visitor, may_read
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading
from shoal_hub.devices.routes import list_devices
from shoal_hub.events.watch import watch
from shoal_hub.operators.login import LoginLimits
from shoal_hub.operators.roles import Principal
from shoal_hub.rollouts.routes import list_rollouts
from shoal_hub.settings import Settings
from shoal_hub.traffic.ledger import ledger_of

router = APIRouter(include_in_schema=False)
console_routers: Final = (
    router,
    rollout_routes.router,
    performance_routes.router,
    drift_routes.router,
    automation_routes.router,
    compression_routes.router,
    run_routes.router,
    job_routes.router,
    login_routes.router,
    account_routes.router,
)

_ROLLOUTS: Final = 20
_LEDGER_ROWS: Final = 1000
_VIEWER: Final = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0/"
_STATIC: Final = Path(__file__).parent / "static"


def install_console(app: FastAPI, settings: Settings) -> None:
    """Add what the console's routes need to the API's application: its limits and its static files."""
    app.state.login_limits = LoginLimits.of(settings)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")


@router.get("/")
def read_page(visitor: Visitor) -> Response:
    """Show the page, or the way to log in."""
    return render("page.html", visit=visitor) if visitor else RedirectResponse("/login", 303)


@router.get("/api/docs")
def read_api_docs() -> HTMLResponse:
    """Show the API's description. What shows it runs on the console's own site, so its hashes stand in the page."""
    return render("api_docs.html", also=_VIEWER, viewer=_VIEWER)


@router.get("/console/devices")
def read_devices(request: Request, visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return the table of devices."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    url = str(request.base_url).rstrip("/")
    return render("devices.html", devices=list_devices(session, visitor.principal), url=url)


@router.get("/console/rollouts")
def read_rollouts(visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return the table of rollouts."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    return render("rollouts.html", rollouts=list_rollouts(session, visitor.principal, limit=_ROLLOUTS))


@router.get("/console/ledger")
def read_ledger(visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return the table of what devices have taken of their uplinks this month."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    now = utc_now()
    month = month_of(now)
    return render("ledger.html", months=ledger_of(session, month, now, limit=_LEDGER_ROWS), month=month)


@router.get("/console/stream")
def stream(visitor: Visitor, hub: Hub) -> Response:
    """Send an event for each thing that has changed: `devices`, `rollouts`, `events`."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    return StreamingResponse(
        _events(hub, visitor.principal), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )


async def _events(hub: HubContext, reader: Principal) -> AsyncIterator[str]:
    async for what in watch(hub, reader):
        yield "".join(f"event: {word}\ndata: \n\n" for word in sorted(what)) or ": still here\n\n"
