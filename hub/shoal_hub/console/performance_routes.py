"""The page of performance: how right a model is, by version and over the last day, beside its thresholds."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlmodel import col, select

from shoal_hub.console.pages import log_in_again, render
from shoal_hub.console.trend import Trend, trend_of
from shoal_hub.console.visitors import Visitor, may_read
from shoal_hub.dependencies import Reading
from shoal_hub.errors import InvalidInputError, NotFoundError
from shoal_hub.performance import routes as api
from shoal_hub.performance.public import PerformancePublic, PerformanceRow
from shoal_hub.registry.tables import Model
from shoal_hub.requests import Line

router = APIRouter(include_in_schema=False)

_MODELS: Final = 200
"""That the page offers."""


@router.get("/performance")
def read_performance_page(visitor: Visitor, model: Line = "") -> Response:
    """Show the page of a model's performance, or the way to log in."""
    if visitor is None:
        return RedirectResponse("/login", 303)
    return render("performance_page.html", visit=visitor, model=model)


@router.get("/console/performance")
def read_performance_part(visitor: Visitor, session: Reading, model: Line = "") -> HTMLResponse:
    """Return what of the page changes: the models, and of one of them its performance."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    models = session.exec(select(Model.name).order_by(col(Model.name)).limit(_MODELS)).all()
    model = model or (models[0] if models else "")
    if not model:
        return render("performance.html", models=models, model="", report=None, trend=None, problem="")
    try:
        report = api.read_performance(session, visitor.principal, model, by="version")
        over_time = api.read_performance(session, visitor.principal, model, by="window")
    except (NotFoundError, InvalidInputError) as error:
        problem = f"{error.message}; {error.remedy}"
        return render("performance.html", models=models, model=model, report=None, trend=None, problem=problem)
    return render("performance.html", models=models, model=model, report=report, trend=_trend(over_time), problem="")


def _trend(report: PerformancePublic) -> Trend | None:
    """Return the picture of accuracy and its estimate, or of the mean absolute error; None where there is neither."""
    rows = [(row.begins_at, row) for row in report.rows if row.begins_at is not None]
    series = {
        "accuracy": [(at, row.accuracy) for at, row in rows],
        "estimate": [(at, _estimated(row)) for at, row in rows],
    }
    if _has_any(series):
        return trend_of(series, report.since, report.until, report.thresholds.get("accuracy"))
    errors = {"mae": [(at, row.mae) for at, row in rows]}
    if not _has_any(errors):
        return None
    most = max([value for _, value in errors["mae"] if value is not None]) or 1.0
    return trend_of(errors, report.since, report.until, report.thresholds.get("mae"), most)


def _estimated(row: PerformanceRow) -> float | None:
    return None if row.estimate is None else row.estimate.accuracy


def _has_any(series: Mapping[str, Sequence[tuple[datetime, float | None]]]) -> bool:
    return any(value is not None for points in series.values() for _, value in points)
