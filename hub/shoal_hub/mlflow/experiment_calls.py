"""Calls about experiments: made, found, changed, let go, searched."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from sqlmodel import Session

from shoal_hub.database import utc_now
from shoal_hub.dependencies import Reading, Writing
from shoal_hub.mlflow.callers import Reader, Writer
from shoal_hub.mlflow.route import MlflowRoute
from shoal_hub.mlflow.wire import EMPTY, Body, Id, Json, TagBody, named, paged, pairs
from shoal_hub.requests import Text
from shoal_hub.tracking import experiments
from shoal_hub.tracking.experiments import View
from shoal_hub.tracking.tables import Experiment
from shoal_hub.tracking.tags import delete_tag, set_tags, tags_of

router = APIRouter(prefix="/experiments", route_class=MlflowRoute, include_in_schema=False)


class CreateExperiment(Body):
    """A new experiment."""

    name: Text
    artifact_location: Text = ""
    tags: tuple[TagBody, ...] = Field(default=(), max_length=100)


class ExperimentId(Body):
    """Which experiment."""

    experiment_id: Id


class UpdateExperiment(ExperimentId):
    """Its new name."""

    new_name: Text


class ExperimentTag(ExperimentId, TagBody):
    """A tag of an experiment."""


class ExperimentTagKey(ExperimentId):
    """Which tag."""

    key: Text


class SearchExperiments(Body):
    """Which experiments."""

    max_results: int = 1000
    page_token: str = ""
    filter: Text = ""
    order_by: tuple[Text, ...] = Field(default=(), max_length=20)
    view_type: View = "ACTIVE_ONLY"


@router.post("/create")
def create_experiment(body: CreateExperiment, session: Writing, writer: Writer) -> Json:
    """Add an experiment."""
    row = experiments.create_experiment(
        session,
        body.name,
        artifact_location=body.artifact_location,
        tags=named(body.tags),
        by=writer.name,
        now=utc_now(),
    )
    return {"experiment_id": row.id}


@router.get("/get")
def get_experiment(experiment_id: Id, session: Reading, _reader: Reader) -> Json:
    """Return an experiment by id."""
    return {"experiment": _shown(session, [experiments.find_experiment(session, experiment_id)])[0]}


@router.get("/get-by-name")
def get_experiment_by_name(experiment_name: Text, session: Reading, _reader: Reader) -> Json:
    """Return an experiment by name."""
    return {"experiment": _shown(session, [experiments.find_by_name(session, experiment_name)])[0]}


@router.post("/update")
def update_experiment(body: UpdateExperiment, session: Writing, _writer: Writer) -> Json:
    """Rename an experiment."""
    experiments.rename_experiment(
        session, experiments.find_experiment(session, body.experiment_id), body.new_name, utc_now()
    )
    return EMPTY


@router.post("/delete")
def delete_experiment(body: ExperimentId, session: Writing, _writer: Writer) -> Json:
    """Let an experiment go; it can be brought back."""
    row = experiments.find_experiment(session, body.experiment_id)
    experiments.set_lifecycle(session, row, "deleted", utc_now())
    return EMPTY


@router.post("/restore")
def restore_experiment(body: ExperimentId, session: Writing, _writer: Writer) -> Json:
    """Bring an experiment back."""
    row = experiments.find_experiment(session, body.experiment_id)
    experiments.set_lifecycle(session, row, "active", utc_now())
    return EMPTY


@router.post("/set-experiment-tag")
def set_experiment_tag(body: ExperimentTag, session: Writing, _writer: Writer) -> Json:
    """Set a tag of an experiment."""
    row = experiments.find_experiment(session, body.experiment_id)
    experiments.require_active(row)
    set_tags(session, "experiment", row.id, {body.key: body.value})
    return EMPTY


@router.post("/delete-experiment-tag")
def delete_experiment_tag(body: ExperimentTagKey, session: Writing, _writer: Writer) -> Json:
    """Delete a tag of an experiment."""
    row = experiments.find_experiment(session, body.experiment_id)
    experiments.require_active(row)
    delete_tag(session, "experiment", row.id, body.key)
    return EMPTY


@router.post("/search")
def search_experiments(body: SearchExperiments, session: Reading, _reader: Reader) -> Json:
    """Return one page of the experiments that a filter matches."""
    return _search(session, body)


@router.get("/search")
def search_experiments_by_query(
    asked: Annotated[SearchExperiments, Query()], session: Reading, _reader: Reader
) -> Json:
    """Return the same, asked for in the address."""
    return _search(session, asked)


def _search(session: Session, asked: SearchExperiments) -> Json:
    page = experiments.search_experiments(
        session,
        asked.filter,
        asked.order_by,
        view=asked.view_type,
        limit=asked.max_results,
        token=asked.page_token,
    )
    return paged("experiments", _shown(session, page.items), page.token)


def _shown(session: Session, rows: Iterable[Experiment]) -> list[Json]:
    every = list(rows)
    tags = tags_of(session, "experiment", [row.id for row in every])
    return [
        {
            "experiment_id": row.id,
            "name": row.name,
            "artifact_location": row.artifact_location,
            "lifecycle_stage": row.lifecycle,
            "creation_time": row.created_ms,
            "last_update_time": row.updated_ms,
            "tags": pairs(tags[row.id]),
        }
        for row in every
    ]
