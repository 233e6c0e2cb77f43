"""A rollout's page: its waves, counts, thresholds and bytes, live."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from shoal_hub.console.pages import log_in_again, render
from shoal_hub.console.visitors import Visitor, may_read
from shoal_hub.dependencies import Reading
from shoal_hub.errors import NotFoundError
from shoal_hub.requests import Line
from shoal_hub.rollouts.routes import read_rollout

router = APIRouter(include_in_schema=False)

_SHOWN: Final = 200
"""Deployments that the page lists."""


@router.get("/rollouts/{rollout_id}")
def read_rollout_page(rollout_id: Line, visitor: Visitor) -> Response:
    """Show a rollout's page, or the way to log in."""
    if visitor is None:
        return RedirectResponse("/login", 303)
    return render("rollout_page.html", visit=visitor, rollout_id=rollout_id)


@router.get("/console/rollouts/{rollout_id}")
def read_rollout_part(rollout_id: Line, visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return what of a rollout's page changes."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    try:
        rollout = read_rollout(rollout_id, session, visitor.principal, limit=_SHOWN, order="concern")
    except NotFoundError as error:
        return render("rollout.html", 404, rollout=None, missing=error.message)
    return render("rollout.html", rollout=rollout)
