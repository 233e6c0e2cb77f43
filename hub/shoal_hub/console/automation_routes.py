"""Automation in the console: policies with what the last look came to, the latest runs, and a run's story."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from shoal_hub.automation.routes import list_automation_runs, list_policies, read_run
from shoal_hub.console.pages import log_in_again, render
from shoal_hub.console.visitors import Visitor, may_read
from shoal_hub.dependencies import Hub, Reading
from shoal_hub.errors import NotFoundError
from shoal_hub.requests import Line

router = APIRouter(include_in_schema=False)

_RUNS: Final = 10


@router.get("/console/automation")
def read_automation(visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return the tables of policies and runs."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    policies = list_policies(session, visitor.principal)
    return render(
        "automation.html",
        policies=policies,
        runs=list_automation_runs(session, visitor.principal, limit=_RUNS),
    )


@router.get("/automation/runs/{run_id}")
def read_run_page(run_id: Line, visitor: Visitor) -> Response:
    """Show a run's page, or the way to log in."""
    if visitor is None:
        return RedirectResponse("/login", 303)
    return render("automation_run_page.html", visit=visitor, run_id=run_id)


@router.get("/console/automation/runs/{run_id}")
def read_run_part(run_id: Line, visitor: Visitor, hub: Hub, session: Reading) -> HTMLResponse:
    """Return what of a run's page changes."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    try:
        run = read_run(run_id, hub, session, visitor.principal)
    except NotFoundError as error:
        return render("automation_run.html", 404, run=None, problem=error.message)
    return render("automation_run.html", run=run, problem="")
