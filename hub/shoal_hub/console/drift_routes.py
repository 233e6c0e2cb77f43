"""Drift in the console: the signals, and a version's page with its history and what is behind drift."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from shoal_hub.console.pages import log_in_again, render
from shoal_hub.console.visitors import Visitor, may_read
from shoal_hub.dependencies import Reading
from shoal_hub.drift_history.routes import read_drift_cause, read_drift_history
from shoal_hub.errors import HubError
from shoal_hub.monitoring.routes import list_signals
from shoal_hub.requests import Line, RowNumber

router = APIRouter(include_in_schema=False)

_SIGNALS: Final = 20
_DEVICES: Final = 50
_FEATURES: Final = 30
_PICTURES: Final = 12


@router.get("/console/drift")
def read_signals_part(visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return the table of drift signals."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    signals = list_signals(session, visitor.principal, limit=_SIGNALS)
    return render("drift_signals.html", signals=signals)


@router.get("/drift/{model}/{version}")
def read_drift_page(model: Line, version: RowNumber, visitor: Visitor, signal: Line = "") -> Response:
    """Show the page of a version's drift, or the way to log in."""
    if visitor is None:
        return RedirectResponse("/login", 303)
    return render("drift_page.html", visit=visitor, model=model, version=version, signal=signal)


@router.get("/console/drift/{model}/{version}")
def read_drift_part(
    model: Line, version: RowNumber, visitor: Visitor, session: Reading, signal: Line = ""
) -> HTMLResponse:
    """Return what of a version's page changes: its history by day, and what is behind drift now or behind a signal."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    try:
        cause = read_drift_cause(
            session,
            visitor.principal,
            signal=signal or None,
            model=None if signal else model,
            version=None if signal else version,
            devices=_DEVICES,
            features=_FEATURES,
            histograms=_PICTURES,
        )
        history = read_drift_history(session, visitor.principal, model, version, limit=_PICTURES)
    except HubError as error:
        return render("drift.html", error.status, cause=None, missing=error.message)
    return render("drift.html", cause=cause, history=history)
