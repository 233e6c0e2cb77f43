"""Compression in the console: the latest runs, a run with its choices and its picture, and the report of a file."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from shoal_hub.compression.routes import (
    list_compression_runs,
    read_compression_page,
    read_compression_picture,
    read_run,
)
from shoal_hub.console.pages import log_in_again, render
from shoal_hub.console.visitors import Visitor, may_read
from shoal_hub.dependencies import Hub, Reading
from shoal_hub.errors import NotFoundError
from shoal_hub.requests import Line

router = APIRouter(include_in_schema=False)

_RUNS: Final = 10


@router.get("/console/compression")
def read_compression(visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return the table of runs."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    return render("compression.html", runs=list_compression_runs(session, visitor.principal, limit=_RUNS))


@router.get("/compression/runs/{run_id}")
def read_compression_run_page(run_id: Line, visitor: Visitor) -> Response:
    """Show a run's page, or the way to log in."""
    if visitor is None:
        return RedirectResponse("/login", 303)
    return render("compression_run_page.html", visit=visitor, run_id=run_id)


@router.get("/console/compression/runs/{run_id}")
def read_compression_run_part(run_id: Line, visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return what of a run's page changes."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    try:
        run = read_run(session, run_id)
    except NotFoundError as error:
        return render("compression_run.html", 404, run=None, problem=error.message)
    return render("compression_run.html", run=run, problem="")


@router.get("/console/compression/runs/{run_id}/picture")
def read_run_picture(run_id: Line, visitor: Visitor, session: Reading) -> Response:
    """Return the picture of a run's fronts."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    return read_compression_picture(run_id, session, visitor.principal)


@router.get("/console/compression/runs/{run_id}/results/{name}")
def read_file_report(run_id: Line, name: Line, visitor: Visitor, hub: Hub, session: Reading) -> Response:
    """Return the report of a file of a run."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    return read_compression_page(run_id, name, hub, session, visitor.principal)
