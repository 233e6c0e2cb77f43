"""Routes of runs for the CLI and the console: list, show one, the history of a metric. Clients log by MLflow's API."""

from collections.abc import Sequence
from math import isfinite
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlmodel import Session

from shoal_hub.dependencies import Reading, Viewer
from shoal_hub.error_response import documented
from shoal_hub.requests import Line, Text
from shoal_hub.tracking.experiments import find_by_name, find_experiment
from shoal_hub.tracking.inputs import datasets_of
from shoal_hub.tracking.runs import find_run, search_runs
from shoal_hub.tracking.tables import Experiment, RunStatus, TrackedRun
from shoal_hub.tracking.tags import tags_of
from shoal_hub.tracking.values import Measured, history_of, latest_of, params_of

router = APIRouter(prefix="/runs", tags=["runs"])

_PAGE = 50_000


class RunSummary(BaseModel):
    """A run in a list; times are milliseconds since 1970, as its client told them.

    A metric that is NaN or infinite last has no number here.
    """

    id: str
    name: str
    experiment: str
    experiment_name: str
    status: RunStatus
    user_name: str
    started_ms: int
    ended_ms: int | None
    metrics: dict[str, float | None]
    params: dict[str, str]


class RunDetail(RunSummary):
    """One run with what else is known of it."""

    tags: dict[str, str]
    datasets: list[str]
    artifact_uri: str


class MetricPoint(BaseModel):
    """One value of a metric; null where it is NaN or infinite."""

    step: int
    at_ms: int
    value: float | None


@router.get("", responses=documented(401, 403, 404, 422))
def list_runs(
    session: Reading,
    _viewer: Viewer,
    experiment: Line = "",
    where: Annotated[Text, Query(alias="filter", max_length=10_000)] = "",
    order_by: Annotated[list[Text] | None, Query(max_length=20)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[RunSummary]:
    """List runs, those that began last first; of one experiment by name, and those alone that a filter matches.

    The filter is in MLflow's words, like `metrics.acc > 0.9 and params.depth = '3'`.
    """
    named = [find_by_name(session, experiment).id] if experiment else []
    page = search_runs(session, named, where, order_by or (), view="ACTIVE_ONLY", limit=limit, token="")
    return _summaries(session, page.items)


@router.get("/{run_id}", responses=documented(401, 403, 404, 422))
def read_run(run_id: Line, session: Reading, _viewer: Viewer) -> RunDetail:
    """Return a run, of each metric the last value."""
    row = find_run(session, run_id)
    (summary,) = _summaries(session, [row])
    data = [f"{one.name} ({one.digest})" for one in datasets_of(session, [row.id])[row.id]]
    tags = tags_of(session, "run", [row.id])[row.id]
    return RunDetail(**summary.model_dump(), tags=tags, datasets=data, artifact_uri=row.artifact_uri)


@router.get("/{run_id}/metrics", responses=documented(401, 403, 404, 422))
def read_metric(
    run_id: Line, key: Annotated[Text, Query(max_length=250)], session: Reading, _viewer: Viewer
) -> list[MetricPoint]:
    """Return the values of a metric in the order of steps, 50,000 at most."""
    page = history_of(session, find_run(session, run_id).id, key, limit=_PAGE, token="")
    return [MetricPoint(step=one.step, at_ms=one.at_ms, value=_finite(one)) for one in page.items]


def _summaries(session: Session, rows: Sequence[TrackedRun]) -> list[RunSummary]:
    ids = [row.id for row in rows]
    metrics, params = latest_of(session, ids), params_of(session, ids)
    experiments: dict[str, Experiment] = {
        one: find_experiment(session, one) for one in {row.experiment for row in rows}
    }
    return [
        RunSummary(
            id=row.id,
            name=row.name,
            experiment=row.experiment,
            experiment_name=experiments[row.experiment].name,
            status=row.status,
            user_name=row.user_name,
            started_ms=row.started_ms,
            ended_ms=row.ended_ms,
            metrics={one.key: _finite(one) for one in metrics[row.id]},
            params=params[row.id],
        )
        for row in rows
    ]


def _finite(one: Measured) -> float | None:
    return one.value if isfinite(one.value) else None
