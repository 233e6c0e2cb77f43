"""Jobs in the console: the latest, and one with its log as it is written, and what an operator does with it."""

from collections.abc import AsyncIterator, Callable
from html import escape
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from sqlmodel import Session

from shoal_hub.audit.requests import ALWAYS
from shoal_hub.console.pages import log_in_again, render
from shoal_hub.console.visitors import Sender, Visit, Visitor, may_read
from shoal_hub.context import HubContext
from shoal_hub.dependencies import Hub, Reading, check_right
from shoal_hub.errors import HubError, NotFoundError
from shoal_hub.jobs import routes as api
from shoal_hub.jobs.follow import follow_log
from shoal_hub.jobs.log import end_of_log, job_folder
from shoal_hub.operators.roles import Principal, Role, Scope
from shoal_hub.requests import Line

router = APIRouter(include_in_schema=False)

_JOBS: Final = 20


@router.get("/console/jobs")
def read_jobs_part(visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return the table of jobs."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    return render("jobs.html", jobs=api.list_jobs(session, visitor.principal, limit=_JOBS))


@router.get("/jobs/{job_id}")
def read_job_page(job_id: Line, visitor: Visitor) -> Response:
    """Show a job's page, or the way to log in."""
    if visitor is None:
        return RedirectResponse("/login", 303)
    return render("job_page.html", visit=visitor, job_id=job_id)


@router.get("/console/jobs/{job_id}")
def read_job_part(job_id: Line, visitor: Visitor, session: Reading) -> HTMLResponse:
    """Return what of a job's page changes, but for its log."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    return _part(session, visitor, job_id)


@router.get("/console/jobs/{job_id}/log")
def stream_log(
    job_id: Line,
    visitor: Visitor,
    hub: Hub,
    last_event_id: Annotated[str, Header(max_length=20, pattern=r"^\d*$")] = "",
) -> Response:
    """Send the end of a job's log and what is written from then on; a browser that was cut off goes on where it was."""
    if visitor is None or not may_read(visitor):
        return log_in_again()
    with hub.database.session() as session:  # and not for as long as the log is followed
        folder = job_folder(hub.settings, api.find_job(session, job_id).id)
    offset = int(last_event_id) if last_event_id else max(0, end_of_log(folder) - api.LOG_BYTES)
    events = _events(hub, visitor.principal, job_id, offset)
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


@router.post("/jobs/{job_id}/cancel")
def cancel_job(job_id: Line, hub: Hub, sender: Sender) -> HTMLResponse:
    """Cancel a job."""
    return _command(hub, sender, job_id, lambda session, who: api.cancel_job(job_id, session, who))


@router.post("/jobs/{job_id}/retry")
def retry_job(job_id: Line, hub: Hub, sender: Sender) -> HTMLResponse:
    """Have a job done again."""
    return _command(hub, sender, job_id, lambda session, who: api.retry_job(job_id, session, who))


def _command(hub: HubContext, sender: Visit, job_id: str, act: Callable[[Session, Principal], object]) -> HTMLResponse:
    """Do what the API does by this command, and return the part of the page that shows it, or why it was refused."""
    check_right(sender.principal, Role.OPERATOR, Scope.MODELS)
    problem = ""
    try:
        with hub.database.transaction() as session:
            session.info[ALWAYS] = True
            act(session, sender.principal)
    except HubError as error:
        problem = f"{error.message}; {error.remedy}"
    with hub.database.session() as session:
        return _part(session, sender, job_id, problem=problem)


def _part(session: Session, visit: Visit, job_id: str, *, problem: str = "") -> HTMLResponse:
    said: dict[str, Any] = {"problem": problem, "may_act": visit.principal.may(Role.OPERATOR, Scope.MODELS)}
    try:
        job = api.read_job(job_id, session, visit.principal)
    except NotFoundError as error:
        return render("job.html", 404, job=None, **said | {"problem": error.message})
    return render("job.html", job=job, **said)


async def _events(hub: HubContext, reader: Principal, job_id: str, offset: int) -> AsyncIterator[str]:
    async for told in follow_log(hub, reader, job_id, offset):
        if told.state:
            yield f"event: end\nid: {told.next}\ndata: {told.state}\n\n"
        elif told.is_quiet:
            yield ": still here\n\n"
        else:
            lines = "".join(f"data: {line}\n" for line in escape(told.text).replace("\r", "\n").split("\n"))
            yield f"event: log\nid: {told.next}\n{lines}\n"
