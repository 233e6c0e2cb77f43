"""Trainings in the console: runs with their key figures, a run with its curves and files, several runs compared."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlmodel import Session, col, select

from shoal_hub.console.curves import CurvePicture, picture_of
from shoal_hub.console.pages import log_in_again, render
from shoal_hub.console.visitors import Visitor, may_read
from shoal_hub.dependencies import Hub, Reading
from shoal_hub.errors import NotFoundError
from shoal_hub.mlflow.artifact_calls import stored_file
from shoal_hub.mlflow.sources import hub_path
from shoal_hub.requests import Line
from shoal_hub.tracking import routes as api
from shoal_hub.tracking.curves import curves_of
from shoal_hub.tracking.files import files_below, find_file
from shoal_hub.tracking.routes import RunDetail
from shoal_hub.tracking.runs import find_run
from shoal_hub.tracking.tables import Experiment, TrackedFile

router = APIRouter(include_in_schema=False)

_RUNS: Final = 50
_EXPERIMENTS: Final = 50
_COMPARED: Final = 8
"""As many as there are colours."""
_FILES: Final = 200
_SHOWN: Final = {".html": "text/html; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json"}
"""Endings of files that a browser shows, as a page without a site: it runs no scripts and sees no session."""
_SANDBOX: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
Runs = Annotated[list[Line], Query(min_length=1, max_length=_COMPARED)]


@router.get("/training")
def read_training_page(visitor: Visitor, experiment: Line = "") -> Response:
    """Show the page of runs and jobs, or the way to log in."""
    if visitor is None:
        return RedirectResponse("/login", 303)
    return render("training_page.html", visit=visitor, experiment=experiment)


@router.get("/console/runs")
def read_runs_part(visitor: Visitor, session: Reading, experiment: Line = "") -> HTMLResponse:
    """Return the table of runs, of one experiment or of all."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    active = select(Experiment.name).where(Experiment.lifecycle == "active").order_by(col(Experiment.updated_ms).desc())
    names = session.exec(active.limit(_EXPERIMENTS)).all()
    try:
        runs = api.list_runs(session, visitor.principal, experiment=experiment, limit=_RUNS)
    except NotFoundError:
        runs = []
    return render("runs.html", runs=runs, experiments=names, experiment=experiment)


@router.get("/runs/compare")
def read_comparison_page(visitor: Visitor, run: Runs) -> Response:
    """Show the page that compares runs, or the way to log in."""
    if visitor is None:
        return RedirectResponse("/login", 303)
    return render("comparison_page.html", visit=visitor, runs=list(dict.fromkeys(run)))


@router.get("/console/runs/compare")
def read_comparison_part(visitor: Visitor, session: Reading, run: Runs) -> HTMLResponse:
    """Return the curves of several runs, each metric's in one picture, and the parameters in which they differ."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    try:
        found = [api.read_run(one, session, visitor.principal) for one in dict.fromkeys(run)]
    except NotFoundError as error:
        return render("comparison.html", 404, runs=[], problem=error.message, pictures=[], figures=[], params=[])
    return render(
        "comparison.html",
        runs=found,
        problem="",
        pictures=_pictures(session, found),
        figures=_rows([one.metrics for one in found]),
        params=[row for row in _rows([one.params for one in found]) if len(set(row[1])) > 1],
    )


@router.get("/runs/{run_id}")
def read_run_page(run_id: Line, visitor: Visitor) -> Response:
    """Show a run's page, or the way to log in."""
    if visitor is None:
        return RedirectResponse("/login", 303)
    return render("run_page.html", visit=visitor, run_id=run_id)


@router.get("/console/runs/{run_id}")
def read_run_part(run_id: Line, visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return what of a run's page changes."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    try:
        run = api.read_run(run_id, session, visitor.principal)
    except NotFoundError as error:
        return render("run.html", 404, run=None, problem=error.message)
    return render(
        "run.html", run=run, problem="", pictures=_pictures(session, [run]), files=_files(session, run.artifact_uri)
    )


@router.get("/console/runs/{run_id}/files/{path:path}")
def read_run_file(run_id: Line, path: str, visitor: Visitor, hub: Hub, session: Reading) -> Response:
    """Return a file of a run: a report or a picture as a page of no site, anything else to be saved."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    root = hub_path(find_run(session, run_id).artifact_uri)
    if root is None:
        raise NotFoundError(f"no file {path[:200]!r} of the run {run_id} is at the hub", "look where its client put it")
    row = find_file(session, f"{root}/{path}")
    answer = stored_file(hub.artifacts, row.sha256, row.size_bytes)
    shown = _SHOWN.get(PurePosixPath(path).suffix.lower())
    if shown is not None:
        answer.headers["content-type"], answer.headers["content-disposition"] = shown, "inline"
        answer.headers["content-security-policy"] = _SANDBOX
    return answer


def _pictures(session: Session, runs: Sequence[RunDetail]) -> list[CurvePicture]:
    curves = curves_of(session, [one.id for one in runs])
    drawn = []
    for name, by_run in curves.items():
        placed = [(one.name, place, by_run[one.id]) for place, one in enumerate(runs) if one.id in by_run]
        picture = picture_of(name, placed)
        if picture is not None:
            drawn.append(picture)
    return drawn


def _files(session: Session, uri: str) -> list[tuple[str, TrackedFile]]:
    root = hub_path(uri)
    if root is None:
        return []
    return [(row.path.removeprefix(f"{root}/"), row) for row in files_below(session, root)[:_FILES]]


def _rows(values: Sequence[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    names = sorted({name for one in values for name in one})
    return [(name, [one.get(name) for one in values]) for name in names]
