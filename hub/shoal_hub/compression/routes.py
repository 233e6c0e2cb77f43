"""Routes of compression: start a run or a search, list, look at one, its reports and its picture, cancel."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from sqlmodel import Session, col, select

from shoal_compression.recipe_files import builtin_recipes
from shoal_hub.benchmarks.offer import devices_of
from shoal_hub.benchmarks.tables import BenchmarkDevice, Outcome
from shoal_hub.compression.figures import Choice
from shoal_hub.compression.picture import draw_choices
from shoal_hub.compression.request import CompressionRequest
from shoal_hub.compression.start import cancel_run, find_run, start_run
from shoal_hub.compression.tables import CompressionResult, CompressionRun, RunState
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, ModelOperator, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.errors import NotFoundError
from shoal_hub.jobs.tables import Job
from shoal_hub.requests import Line

router = APIRouter(prefix="/compression", tags=["compression"])


class RecipePublic(BaseModel):
    """A built-in recipe."""

    name: str
    description: str
    steps: list[str]
    sha256: str


class CompressionRunSummary(BaseModel):
    """A run in a list."""

    id: str
    kind: str
    model: str
    version: int
    state: RunState
    progress: str
    """Of the job that is at it."""
    recipes: list[str]
    chosen: dict[str, str]
    """By target."""
    reason: str
    created_by: str
    created_at: datetime
    ended_at: datetime | None


class ResultPublic(BaseModel):
    """A file that a run made; `accuracy` and `latency_p50_ms` are of the hub's machine."""

    name: str
    recipe_sha256: str
    sha256: str
    size_bytes: int
    runtime: str
    precision: str
    accuracy: float | None
    drop_points: float | None
    agreement: float
    latency_p50_ms: float | None
    was_found: bool


class MeasuringDevice(BaseModel):
    """A device that was asked to measure."""

    device_id: str
    hardware: str
    outcome: Outcome
    deadline_at: datetime
    ended_at: datetime | None
    problem: dict[str, Any] | None
    result: dict[str, Any] | None
    """Without what single operators took, which is long."""


class CompressionRunDetail(CompressionRunSummary):
    """A run with its files, what devices have measured, and what was chosen among what."""

    request: CompressionRequest
    results: list[ResultPublic]
    refused: dict[str, str]
    devices: list[MeasuringDevice]
    choices: list[Choice]


@router.get("/recipes", responses=documented(401, 403))
def list_recipes(_viewer: Viewer) -> list[RecipePublic]:
    """List the recipes that come with Shoal."""
    return [
        RecipePublic(
            name=one.name, description=one.description, steps=[step.name for step in one.steps], sha256=one.sha256
        )
        for one in builtin_recipes().values()
    ]


@router.post("/runs", status_code=201, responses=documented(400, 401, 403, 404, 409, 413, 422))
def create_compression_run(
    body: CompressionRequest, session: Writing, operator: ModelOperator
) -> CompressionRunSummary:
    """Start a run of recipes, or a search; devices measure what it makes, and what is best is registered."""
    return _summary(session, start_run(session, body, by=operator.name, now=utc_now()))


@router.get("/runs", responses=documented(401, 403, 422))
def list_compression_runs(
    session: Reading, _viewer: Viewer, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[CompressionRunSummary]:
    """List runs, the newest first."""
    order = (col(CompressionRun.created_at).desc(), col(CompressionRun.id))
    return [_summary(session, row) for row in session.exec(select(CompressionRun).order_by(*order).limit(limit))]


@router.get("/runs/{run_id}", responses=documented(401, 403, 404, 422))
def read_compression_run(run_id: Line, session: Reading, _viewer: Viewer) -> CompressionRunDetail:
    """Return a run with its files, what devices have measured, and what was chosen."""
    return read_run(session, run_id)


@router.post("/runs/{run_id}/cancel", responses=documented(401, 403, 404, 422))
def cancel_compression_run(run_id: Line, session: Writing, operator: ModelOperator) -> CompressionRunSummary:
    """Cancel a run: nothing of it is registered, and devices stop; asked again, it changes nothing."""
    row = find_run(session, run_id, is_locked=True)
    cancel_run(session, row, by=operator.name, now=utc_now())
    return _summary(session, row)


@router.get("/runs/{run_id}/results/{name}", responses=documented(401, 403, 404, 422))
def read_compression_report(run_id: Line, name: Line, session: Reading, _viewer: Viewer) -> dict[str, Any]:
    """Return the report of one file: lineage, verdict by slice and layer, and figures."""
    return _result(session, run_id, name).report


@router.get("/runs/{run_id}/results/{name}/page", responses=documented(401, 403, 404, 422), response_class=Response)
def read_compression_page(run_id: Line, name: Line, hub: Hub, session: Reading, _viewer: Viewer) -> Response:
    """Return the report of one file as a page, with the sensitivity of its layers."""
    row = _result(session, run_id, name)
    if row.page is None:
        raise NotFoundError(f"no page of {name} in {run_id}", f"read the report: shoal compress report {run_id} {name}")
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"}
    return Response(hub.artifacts.read(row.page), media_type="text/html; charset=utf-8", headers=headers)


@router.get("/runs/{run_id}/picture", responses=documented(401, 403, 404, 422), response_class=Response)
def read_compression_picture(run_id: Line, session: Reading, _viewer: Viewer) -> Response:
    """Return the fronts of a run as a picture (SVG): latency and lost points, a panel for each target class."""
    row = find_run(session, run_id)
    choices = [Choice.model_validate(one) for one in row.choices]
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(draw_choices(choices), media_type="image/svg+xml", headers=headers)


def read_run(session: Session, run_id: str) -> CompressionRunDetail:
    """Return a run with all that is known of it.

    Raises:
        NotFoundError: There is none.
    """
    row = find_run(session, run_id)
    results = session.exec(
        select(CompressionResult).where(CompressionResult.run == run_id).order_by(col(CompressionResult.name))
    )
    devices = devices_of(session, row.benchmark_id) if row.benchmark_id is not None else []
    return CompressionRunDetail(
        **_summary(session, row).model_dump(),
        request=CompressionRequest.model_validate(row.request),
        results=[_result_public(one) for one in results],
        refused=row.refused,
        devices=[_device(one) for one in devices],
        choices=[Choice.model_validate(one) for one in row.choices],
    )


def _device(row: BenchmarkDevice) -> MeasuringDevice:
    made = MeasuringDevice.model_validate(row, from_attributes=True)
    if made.result is None:
        return made
    measured = [{name: part for name, part in one.items() if name != "operators"} for one in made.result["measured"]]
    return made.model_copy(update={"result": made.result | {"measured": measured}})


def _summary(session: Session, row: CompressionRun) -> CompressionRunSummary:
    request = CompressionRequest.model_validate(row.request)
    job = session.get(Job, row.job_id)
    asked = row.state == "measuring" and row.benchmark_id is not None
    devices = devices_of(session, row.benchmark_id) if asked and row.benchmark_id else []
    done = sum(one.outcome == "done" for one in devices)
    said = f"{done} of {len(devices)} devices have measured" if asked else (job.message if job else "")
    return CompressionRunSummary(
        id=row.id,
        kind=request.kind,
        model=row.model,
        version=row.number,
        state=row.state,
        progress=said if row.ended_at is None else "",
        recipes=[one.name for one in request.read_recipes],
        chosen={one["target"]: one["chosen"] for one in row.choices if one.get("target") and one.get("chosen")},
        reason=row.reason,
        created_by=row.created_by,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def _result(session: Session, run_id: str, name: str) -> CompressionResult:
    find_run(session, run_id)
    found = session.get(CompressionResult, (run_id, name))
    if found is None:
        raise NotFoundError(f"{run_id} has no result {name}", f"list them: shoal compress show {run_id}")
    return found


def _result_public(row: CompressionResult) -> ResultPublic:
    verdict, variant = row.report["verdict"], row.report["variant"]
    return ResultPublic(
        name=row.name,
        recipe_sha256=row.recipe_sha256,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        runtime=row.runtime,
        precision=row.precision,
        accuracy=verdict.get("accuracy"),
        drop_points=verdict.get("drop_points"),
        agreement=verdict["agreement"],
        latency_p50_ms=variant.get("latency_p50_ms"),
        was_found=row.was_found,
    )
