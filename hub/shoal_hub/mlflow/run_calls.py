"""Calls about runs: begun, found, ended, let go and brought back, searched, tagged."""

from fastapi import APIRouter
from pydantic import Field

from shoal_hub.database import utc_now
from shoal_hub.dependencies import Reading, Writing
from shoal_hub.mlflow.callers import Reader, Writer
from shoal_hub.mlflow.route import MlflowRoute
from shoal_hub.mlflow.run_answers import run_info, shown_runs
from shoal_hub.mlflow.wire import EMPTY, Body, Id, Json, Milliseconds, TagBody, named, paged
from shoal_hub.requests import Text
from shoal_hub.tracking import runs
from shoal_hub.tracking.experiments import View, find_experiment, to_ms
from shoal_hub.tracking.tables import DEFAULT_EXPERIMENT, RunStatus
from shoal_hub.tracking.tags import delete_tag

router = APIRouter(prefix="/runs", route_class=MlflowRoute, include_in_schema=False)


class CreateRun(Body):
    """A new run."""

    experiment_id: Id = DEFAULT_EXPERIMENT
    user_id: Text = ""
    run_name: Text = ""
    start_time: Milliseconds | None = None
    tags: tuple[TagBody, ...] = Field(default=(), max_length=100)


class RunId(Body):
    """Which run; `run_uuid` is how old clients call it."""

    run_id: Id = ""
    run_uuid: Id = ""

    @property
    def id(self) -> str:
        """Its id, by whichever name it was told."""
        return self.run_id or self.run_uuid


class UpdateRun(RunId):
    """How a run stands."""

    status: RunStatus | None = None
    end_time: Milliseconds | None = None
    run_name: Text | None = None


class RunTag(RunId, TagBody):
    """A tag of a run."""


class RunTagKey(RunId):
    """Which tag."""

    key: Text


class SearchRuns(Body):
    """Which runs."""

    experiment_ids: tuple[Id, ...] = ()
    filter: Text = ""
    run_view_type: View = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: tuple[Text, ...] = Field(default=(), max_length=20)
    page_token: str = ""


@router.post("/create")
def create_run(body: CreateRun, session: Writing, writer: Writer) -> Json:
    """Begin a run."""
    row = runs.create_run(
        session,
        find_experiment(session, body.experiment_id),
        name=body.run_name,
        user_name=body.user_id,
        started_ms=to_ms(utc_now()) if body.start_time is None else body.start_time,
        tags=named(body.tags),
        by=writer.name,
    )
    return {"run": shown_runs(session, [row])[0]}


@router.get("/get")
def get_run(session: Reading, _reader: Reader, run_id: Id = "", run_uuid: Id = "") -> Json:
    """Return a run with what it logged: of each metric the last value."""
    return {"run": shown_runs(session, [runs.find_run(session, run_id or run_uuid)])[0]}


@router.post("/update")
def update_run(body: UpdateRun, session: Writing, _writer: Writer) -> Json:
    """Say how a run stands."""
    row = runs.find_active(session, body.id)
    runs.update_run(session, row, status=body.status, ended_ms=body.end_time, name=body.run_name)
    return {"run_info": run_info(row)}


@router.post("/delete")
def delete_run(body: RunId, session: Writing, _writer: Writer) -> Json:
    """Let a run go; it can be brought back."""
    runs.set_lifecycle(session, runs.find_run(session, body.id), "deleted")
    return EMPTY


@router.post("/restore")
def restore_run(body: RunId, session: Writing, _writer: Writer) -> Json:
    """Bring a run back."""
    runs.set_lifecycle(session, runs.find_run(session, body.id), "active")
    return EMPTY


@router.post("/set-tag")
def set_tag(body: RunTag, session: Writing, _writer: Writer) -> Json:
    """Set a tag of a run."""
    runs.set_run_tags(session, runs.find_active(session, body.id), {body.key: body.value})
    return EMPTY


@router.post("/delete-tag")
def delete_run_tag(body: RunTagKey, session: Writing, _writer: Writer) -> Json:
    """Delete a tag of a run."""
    delete_tag(session, "run", runs.find_active(session, body.id).id, body.key)
    return EMPTY


@router.post("/search")
def search_runs(body: SearchRuns, session: Reading, _reader: Reader) -> Json:
    """Return one page of the runs that a filter matches."""
    page = runs.search_runs(
        session,
        body.experiment_ids,
        body.filter,
        body.order_by,
        view=body.run_view_type,
        limit=body.max_results,
        token=body.page_token,
    )
    return paged("runs", shown_runs(session, page.items), page.token)
