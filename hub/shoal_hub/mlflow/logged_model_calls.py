"""Calls about logged models: made, finished, found, searched, tagged, let go."""

from collections.abc import Sequence
from typing import Final, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlmodel import Session

from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading, Writing
from shoal_hub.errors import InvalidInputError
from shoal_hub.mlflow.callers import Reader, Writer
from shoal_hub.mlflow.route import MlflowRoute
from shoal_hub.mlflow.wire import EMPTY, Body, Id, Json, ParamBody, TagBody, metric, named, paged, pairs
from shoal_hub.requests import Text
from shoal_hub.tracking import logged_models as models
from shoal_hub.tracking.experiments import find_experiment, to_ms
from shoal_hub.tracking.files import list_folder
from shoal_hub.tracking.tables import LoggedModel, ModelStatus
from shoal_hub.tracking.tags import delete_tag, set_tags, tags_of
from shoal_hub.tracking.values import log_params, metrics_of_models, params_of

router = APIRouter(prefix="/logged-models", route_class=MlflowRoute, include_in_schema=False)

_NUMBERS: Final[dict[int, ModelStatus]] = {
    1: "LOGGED_MODEL_PENDING",
    2: "LOGGED_MODEL_READY",
    3: "LOGGED_MODEL_UPLOAD_FAILED",
}


class CreateLoggedModel(Body):
    """A new logged model."""

    experiment_id: Id
    name: Text = ""
    model_type: Text = ""
    source_run_id: Id = ""
    params: tuple[ParamBody, ...] = Field(default=(), max_length=1000)
    tags: tuple[TagBody, ...] = Field(default=(), max_length=100)


class FinalizeLoggedModel(Body):
    """Whether its files have come; the client sends the enumeration's number or its word."""

    status: Literal[1, 2, 3] | ModelStatus


class LoggedModelTags(Body):
    """Tags to set."""

    tags: tuple[TagBody, ...] = Field(default=(), max_length=100)


class LoggedModelParams(Body):
    """Parameters to keep."""

    params: tuple[ParamBody, ...] = Field(default=(), max_length=1000)


class OrderBody(Body):
    """One key to order by, as this search has it apart."""

    field_name: Text
    ascending: bool = True


class SearchLoggedModels(Body):
    """Which logged models."""

    experiment_ids: tuple[Id, ...] = Field(max_length=1000)
    filter: Text = ""
    datasets: tuple[Json, ...] = ()
    max_results: int = 50
    order_by: tuple[OrderBody, ...] = Field(default=(), max_length=20)
    page_token: str = ""


@router.post("")
def create_logged_model(body: CreateLoggedModel, session: Writing, writer: Writer) -> Json:
    """Add a logged model whose files are to come."""
    row = models.create_logged_model(
        session,
        find_experiment(session, body.experiment_id),
        name=body.name,
        model_type=body.model_type,
        run=body.source_run_id,
        params=[(one.key, one.value) for one in body.params],
        tags=named(body.tags),
        by=writer.name,
        now=utc_now(),
    )
    return {"model": shown_models(session, [row])[0]}


@router.post("/search")
def search_logged_models(body: SearchLoggedModels, session: Reading, _reader: Reader) -> Json:
    """Return one page of the logged models that a filter matches."""
    if body.datasets:
        raise InvalidInputError(
            "searching logged models by data sets is not answered by this hub", "leave `datasets` out"
        )
    ordered = [f"{one.field_name} {'ASC' if one.ascending else 'DESC'}" for one in body.order_by]
    page = models.search_logged_models(
        session, body.experiment_ids, body.filter, ordered, limit=body.max_results, token=body.page_token
    )
    return paged("models", shown_models(session, page.items), page.token)


@router.get("/{model_id}")
def get_logged_model(model_id: Id, session: Reading, _reader: Reader) -> Json:
    """Return a logged model."""
    return {"model": shown_models(session, [models.find_logged_model(session, model_id)])[0]}


@router.patch("/{model_id}")
def finalize_logged_model(model_id: Id, body: FinalizeLoggedModel, session: Writing, _writer: Writer) -> Json:
    """Say that a logged model's files have come, or will not."""
    row = models.find_logged_model(session, model_id)
    status = _NUMBERS[body.status] if isinstance(body.status, int) else body.status
    models.finish_logged_model(session, row, status, utc_now())
    return {"model": shown_models(session, [row])[0]}


@router.delete("/{model_id}")
def delete_logged_model(model_id: Id, session: Writing, _writer: Writer) -> Json:
    """Let a logged model go; its files stay with their run."""
    row = models.find_logged_model(session, model_id)
    row.lifecycle, row.updated_ms = "deleted", to_ms(utc_now())
    session.add(row)
    return EMPTY


@router.patch("/{model_id}/tags")
def set_logged_model_tags(model_id: Id, body: LoggedModelTags, session: Writing, _writer: Writer) -> Json:
    """Set tags of a logged model."""
    row = models.find_logged_model(session, model_id)
    set_tags(session, "logged_model", row.id, named(body.tags))
    return {"model": shown_models(session, [row])[0]}


@router.delete("/{model_id}/tags/{tag_key}")
def delete_logged_model_tag(model_id: Id, tag_key: Text, session: Writing, _writer: Writer) -> Json:
    """Delete a tag of a logged model."""
    delete_tag(session, "logged_model", models.find_logged_model(session, model_id).id, tag_key)
    return EMPTY


@router.post("/{model_id}/params")
def log_logged_model_params(model_id: Id, body: LoggedModelParams, hub: Hub, _writer: Writer) -> Json:
    """Keep parameters of a logged model."""
    with hub.database.transaction() as session:
        row = models.find_logged_model(session, model_id)
        log_params(session, row.id, [(one.key, one.value) for one in body.params])
    return EMPTY


@router.get("/{model_id}/artifacts/directories")
def list_logged_model_artifacts(
    model_id: Id, session: Reading, _reader: Reader, artifact_directory_path: Text = ""
) -> Json:
    """Return what is in a folder of a logged model."""
    row = models.find_logged_model(session, model_id)
    place = row.artifact_uri.partition(":")[2].strip("/")
    inside = "/".join(part for part in (place, artifact_directory_path.strip("/")) if part)
    start = artifact_directory_path.strip("/")
    files = [
        {"path": f"{start}/{one.name}" if start else one.name, "is_dir": one.is_folder}
        | ({} if one.is_folder else {"file_size": one.size_bytes})
        for one in list_folder(session, inside)
    ]
    return {"root_uri": row.artifact_uri, "files": files}


def shown_models(session: Session, rows: Sequence[LoggedModel]) -> list[Json]:
    """Return logged models as messages."""
    ids = [row.id for row in rows]
    tags, params = tags_of(session, "logged_model", ids), params_of(session, ids)
    measured = metrics_of_models(session, ids)
    return [
        {
            "info": {
                "model_id": row.id,
                "experiment_id": row.experiment,
                "name": row.name,
                "creation_timestamp_ms": row.created_ms,
                "last_updated_timestamp_ms": row.updated_ms,
                "artifact_uri": row.artifact_uri,
                "status": row.status,
                "model_type": row.model_type,
                "source_run_id": row.run,
                "tags": pairs(tags[row.id]),
            },
            "data": {
                "params": pairs(params[row.id]),
                "metrics": [metric(one, run) for run, one in measured[row.id]],
            },
        }
        for row in rows
    ]
