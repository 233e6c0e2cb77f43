"""Calls about registered models: made, found, changed, deleted, searched, tagged, their newest versions."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import Field
from sqlmodel import Session, col, select

from shoal_hub.database import utc_now
from shoal_hub.dependencies import Reading, Writing
from shoal_hub.mlflow.callers import Reader, Writer
from shoal_hub.mlflow.registry_answers import latest_versions, shown_models
from shoal_hub.mlflow.route import MlflowRoute
from shoal_hub.mlflow.stage_names import stage_named
from shoal_hub.mlflow.wire import EMPTY, Body, Json, TagBody, named, paged
from shoal_hub.registry.tables import Model
from shoal_hub.registry.tracked import create_tracked_model, delete_model, find_tracked_model, rename_model
from shoal_hub.registry.tracked_tables import TrackedModel
from shoal_hub.requests import Text
from shoal_hub.tracking.conditions import Searched, conditions, orders
from shoal_hub.tracking.experiments import to_ms
from shoal_hub.tracking.filters import read_filter, read_order
from shoal_hub.tracking.pages import read_page
from shoal_hub.tracking.tags import delete_tag, set_tags

router = APIRouter(prefix="/registered-models", route_class=MlflowRoute, include_in_schema=False)

_MODEL: Final = Searched(
    kind="model",
    owner=col(TrackedModel.model),
    attributes={
        "name": col(TrackedModel.name),
        "creation_timestamp": col(TrackedModel.created_ms),
        "timestamp": col(TrackedModel.updated_ms),
        "last_updated_timestamp": col(TrackedModel.updated_ms),
    },
    numeric=frozenset({"creation_timestamp", "timestamp", "last_updated_timestamp"}),
)
Description = Annotated[Text, Field(max_length=100_000)]


class ModelName(Body):
    """Which model."""

    name: Text


class CreateRegisteredModel(ModelName):
    """A new model."""

    description: Description = ""
    tags: tuple[TagBody, ...] = Field(default=(), max_length=100)


class UpdateRegisteredModel(ModelName):
    """Its description."""

    description: Description | None = None


class RenameRegisteredModel(ModelName):
    """Its new name."""

    new_name: Text


class ModelTag(ModelName, TagBody):
    """A tag of a model."""


class ModelTagKey(ModelName):
    """Which tag."""

    key: Text


class GetLatestVersions(ModelName):
    """Of which stages."""

    stages: tuple[Text, ...] = Field(default=(), max_length=20)


class SearchRegisteredModels(Body):
    """Which models."""

    filter: Text = ""
    max_results: int = 100
    order_by: tuple[Text, ...] = Field(default=(), max_length=20)
    page_token: str = ""


@router.post("/create")
def create_registered_model(body: CreateRegisteredModel, session: Writing, writer: Writer) -> Json:
    """Add a model without versions."""
    row = create_tracked_model(session, body.name, body.description, by=writer.name, now=utc_now())
    set_tags(session, "model", row.model, named(body.tags))
    return _answer(session, row)


@router.get("/get")
def get_registered_model(name: Text, session: Reading, _reader: Reader) -> Json:
    """Return a model."""
    return _answer(session, find_tracked_model(session, name))


@router.patch("/update")
def update_registered_model(body: UpdateRegisteredModel, session: Writing, _writer: Writer) -> Json:
    """Describe a model."""
    row = find_tracked_model(session, body.name)
    if body.description is not None:
        model = session.get_one(Model, row.model)
        model.description, row.updated_ms = body.description, to_ms(utc_now())
        session.add_all([model, row])
    return _answer(session, row)


@router.post("/rename")
def rename_registered_model(body: RenameRegisteredModel, session: Writing, _writer: Writer) -> Json:
    """Have clients call a model otherwise; devices keep the name that they have."""
    row = find_tracked_model(session, body.name)
    rename_model(session, row, body.new_name, utc_now())
    return _answer(session, row)


@router.delete("/delete")
def delete_registered_model(body: ModelName, session: Writing, writer: Writer) -> Json:
    """Hide a model and all its versions; what devices may run is kept."""
    delete_model(session, find_tracked_model(session, body.name), by=writer.name, now=utc_now())
    return EMPTY


@router.get("/search")
def search_registered_models(
    asked: Annotated[SearchRegisteredModels, Query()], session: Reading, _reader: Reader
) -> Json:
    """Return one page of the models that a filter matches, by name."""
    dialect = session.get_bind().dialect.name
    wanted = select(TrackedModel).where(
        col(TrackedModel.is_hidden).is_(False), *conditions(_MODEL, read_filter(asked.filter), dialect=dialect)
    )
    ordered = orders(_MODEL, [read_order(one) for one in asked.order_by])
    page = read_page(
        session, wanted.order_by(*ordered, col(TrackedModel.name)), limit=asked.max_results, token=asked.page_token
    )
    return paged("registered_models", shown_models(session, page.items), page.token)


@router.post("/get-latest-versions")
def get_latest_versions(body: GetLatestVersions, session: Reading, _reader: Reader) -> Json:
    """Return the newest version of each stage."""
    return _latest(session, body)


@router.get("/get-latest-versions")
def get_latest_versions_by_query(
    asked: Annotated[GetLatestVersions, Query()], session: Reading, _reader: Reader
) -> Json:
    """Return the same, asked for in the address."""
    return _latest(session, asked)


@router.post("/set-tag")
def set_registered_model_tag(body: ModelTag, session: Writing, _writer: Writer) -> Json:
    """Set a tag of a model."""
    set_tags(session, "model", find_tracked_model(session, body.name).model, {body.key: body.value})
    return EMPTY


@router.delete("/delete-tag")
def delete_registered_model_tag(body: ModelTagKey, session: Writing, _writer: Writer) -> Json:
    """Delete a tag of a model."""
    delete_tag(session, "model", find_tracked_model(session, body.name).model, body.key)
    return EMPTY


def _latest(session: Session, asked: GetLatestVersions) -> Json:
    model = find_tracked_model(session, asked.name).model
    stages = [stage_named(one) for one in asked.stages]
    return {"model_versions": latest_versions(session, model, stages)}


def _answer(session: Session, row: TrackedModel) -> Json:
    return {"registered_model": shown_models(session, [row])[0]}
