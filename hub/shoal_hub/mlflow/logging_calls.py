"""Calls by which a run logs: metrics, parameters, tags, data sets, models; and a metric's history.

What is logged is telemetry, so these leave an entry in the audit trail only where they change what is more than that.
"""

import json
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import Field

from shoal_hub.dependencies import Hub, Reading
from shoal_hub.errors import InvalidInputError
from shoal_hub.mlflow.callers import Reader, Writer
from shoal_hub.mlflow.route import MlflowRoute
from shoal_hub.mlflow.run_calls import RunId
from shoal_hub.mlflow.wire import (
    EMPTY,
    MAX_BATCH,
    Body,
    Id,
    Integer,
    Json,
    MetricBody,
    ParamBody,
    TagBody,
    metric,
    named,
    paged,
)
from shoal_hub.requests import Text
from shoal_hub.tracking.inputs import DatasetInput, ModelLink, link_models, log_datasets
from shoal_hub.tracking.runs import find_active, find_run, set_run_tags
from shoal_hub.tracking.tags import tags_of
from shoal_hub.tracking.values import history_of, log_metrics, log_params

router = APIRouter(route_class=MlflowRoute, include_in_schema=False)

CONTEXT: Final = "mlflow.data.context"
MODELS_TAG: Final = "mlflow.log-model.history"
"""Where clients before 3.0 look for the models that a run has logged."""


class LogMetric(RunId, MetricBody):
    """One value."""


class LogParam(RunId, ParamBody):
    """One parameter."""


class LogBatch(RunId):
    """Several at once."""

    metrics: tuple[MetricBody, ...] = Field(default=(), max_length=MAX_BATCH)
    params: tuple[ParamBody, ...] = Field(default=(), max_length=MAX_BATCH)
    tags: tuple[TagBody, ...] = Field(default=(), max_length=MAX_BATCH)


class DatasetBody(Body):
    """A data set."""

    name: Text
    digest: Text
    source_type: Text = ""
    source: Text = ""
    schema_text: Annotated[Text, Field(alias="schema")] = ""
    profile: Text = ""


class DatasetInputBody(Body):
    """A data set, with the tag that says what for."""

    dataset: DatasetBody
    tags: tuple[TagBody, ...] = ()


class ModelInput(Body):
    """A logged model that a run takes."""

    model_id: Id


class ModelOutput(ModelInput):
    """A logged model that a run made."""

    step: Integer = 0


class LogInputs(RunId):
    """What goes into a run."""

    datasets: tuple[DatasetInputBody, ...] = Field(default=(), max_length=MAX_BATCH)
    models: tuple[ModelInput, ...] = Field(default=(), max_length=MAX_BATCH)


class LogOutputs(RunId):
    """What comes out of a run."""

    models: tuple[ModelOutput, ...] = Field(default=(), max_length=MAX_BATCH)


class LogModel(RunId):
    """The description of a model, as its MLmodel file has it, in JSON."""

    model_json: Text


@router.post("/runs/log-metric")
def log_metric(body: LogMetric, hub: Hub, _writer: Writer) -> Json:
    """Keep one value of a metric."""
    with hub.database.transaction() as session:
        log_metrics(session, find_active(session, body.id).id, [body.measured()])
    return EMPTY


@router.post("/runs/log-parameter")
def log_parameter(body: LogParam, hub: Hub, _writer: Writer) -> Json:
    """Keep one parameter."""
    with hub.database.transaction() as session:
        log_params(session, find_active(session, body.id).id, [(body.key, body.value)])
    return EMPTY


@router.post("/runs/log-batch")
def log_batch(body: LogBatch, hub: Hub, _writer: Writer) -> Json:
    """Keep values, parameters and tags: all of them, or none."""
    with hub.database.transaction() as session:
        row = find_active(session, body.id)
        log_metrics(session, row.id, [one.measured() for one in body.metrics])
        log_params(session, row.id, [(one.key, one.value) for one in body.params])
        if body.tags:
            set_run_tags(session, row, named(body.tags))
    return EMPTY


@router.post("/runs/log-inputs")
def log_inputs(body: LogInputs, hub: Hub, _writer: Writer) -> Json:
    """Note what data and which models a run was given."""
    with hub.database.transaction() as session:
        row = find_active(session, body.id)
        log_datasets(session, row, [_dataset(one) for one in body.datasets])
        link_models(session, row, [ModelLink("model_input", one.model_id, 0) for one in body.models])
    return EMPTY


@router.post("/runs/outputs")
def log_outputs(body: LogOutputs, hub: Hub, _writer: Writer) -> Json:
    """Note which models a run has made."""
    with hub.database.transaction() as session:
        row = find_active(session, body.id)
        link_models(session, row, [ModelLink("model_output", one.model_id, one.step) for one in body.models])
    return EMPTY


@router.post("/runs/log-model")
def log_model(body: LogModel, hub: Hub, _writer: Writer) -> Json:
    """Note a model that a run has logged, as clients before 3.0 tell it."""
    described = _read("model_json", body.model_json)
    with hub.database.transaction() as session:
        row = find_active(session, body.id)
        before = _read(MODELS_TAG, tags_of(session, "run", [row.id])[row.id].get(MODELS_TAG, "[]"))
        known = before if isinstance(before, list) else []
        set_run_tags(session, row, {MODELS_TAG: json.dumps([*known, described])})
    return EMPTY


@router.get("/metrics/get-history")
def get_metric_history(
    metric_key: Text,
    session: Reading,
    _reader: Reader,
    run_id: Id = "",
    run_uuid: Id = "",
    max_results: int = 25_000,
    page_token: str = "",
) -> Json:
    """Return one page of a metric's values."""
    row = find_run(session, run_id or run_uuid)
    page = history_of(session, row.id, metric_key, limit=max_results, token=page_token)
    return paged("metrics", [metric(one) for one in page.items], page.token)


def _dataset(one: DatasetInputBody) -> DatasetInput:
    data = one.dataset
    context = named(one.tags).get(CONTEXT, "")
    described = (data.name, data.digest, data.source_type, data.source, data.schema_text, data.profile)
    return DatasetInput(*described, context)


def _read(name: str, text: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInputError(
            f"logging a model: {name} is no JSON: {error}", "send what Model.to_json() gives"
        ) from error
