"""A rollout's page: its waves, counts, gates, thresholds and bytes, live; and what an operator does with it."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlmodel import Session

from shoal_hub.audit.requests import ALWAYS
from shoal_hub.console.pages import log_in_again, render
from shoal_hub.console.visitors import Sender, Visit, Visitor, may_read
from shoal_hub.context import HubContext
from shoal_hub.dependencies import Hub, Reading, check_right
from shoal_hub.errors import HubError, NotFoundError
from shoal_hub.operators.roles import Principal, Role, Scope
from shoal_hub.requests import Line
from shoal_hub.rollouts import routes as api

router = APIRouter(include_in_schema=False)

_SHOWN: Final = 200
"""Deployments that the page lists."""
_WAITS: Final = "it happens once others have approved it: shoal approvals list"


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
    return _part(session, visitor, rollout_id)


@router.post("/rollouts/{rollout_id}/pause")
def pause_rollout(rollout_id: Line, hub: Hub, sender: Sender) -> HTMLResponse:
    """Let no further device begin."""
    return _command(hub, sender, rollout_id, lambda session, who: api.pause_rollout(rollout_id, session, who))


@router.post("/rollouts/{rollout_id}/resume")
def resume_rollout(rollout_id: Line, hub: Hub, sender: Sender) -> HTMLResponse:
    """Go on with a paused rollout."""
    return _command(hub, sender, rollout_id, lambda session, who: api.resume_rollout(rollout_id, session, who))


@router.post("/rollouts/{rollout_id}/approve")
def approve_wave(rollout_id: Line, hub: Hub, sender: Sender) -> HTMLResponse:
    """Let the next wave start, or a wave past its undecided gate; or ask others, where the policy wants that."""
    return _command(hub, sender, rollout_id, lambda session, who: api.approve_wave(rollout_id, hub, session, who))


@router.post("/rollouts/{rollout_id}/abort")
def abort_rollout(rollout_id: Line, hub: Hub, sender: Sender) -> HTMLResponse:
    """End a rollout; its devices go back."""
    return _command(hub, sender, rollout_id, lambda session, who: api.abort_rollout(rollout_id, session, who))


def _command(
    hub: HubContext, sender: Visit, rollout_id: str, act: Callable[[Session, Principal], object]
) -> HTMLResponse:
    """Do what the API does by this command, and return the part of the page that shows it.

    What is refused is shown there as well, with 200: htmx puts nothing else into a page.
    """
    check_right(sender.principal, Role.OPERATOR, Scope.ROLLOUTS)
    said: dict[str, Any] = {}
    try:
        with hub.database.transaction() as session:
            session.info[ALWAYS] = True
            if isinstance(act(session, sender.principal), Response):
                said["notice"] = _WAITS
    except HubError as error:
        said["problem"] = f"{error.message}; {error.remedy}"
    with hub.database.session() as session:
        return _part(session, sender, rollout_id, **said)


def _part(session: Session, visit: Visit, rollout_id: str, *, notice: str = "", problem: str = "") -> HTMLResponse:
    may_act = visit.principal.may(Role.OPERATOR, Scope.ROLLOUTS)
    said: dict[str, Any] = {"notice": notice, "problem": problem, "may_act": may_act}
    try:
        rollout = api.read_rollout(rollout_id, session, visit.principal, limit=_SHOWN, order="concern")
    except NotFoundError as error:
        return render("rollout.html", 404, rollout=None, missing=error.message, **said)
    return render("rollout.html", rollout=rollout, **said)
