"""Calls about versions of registered models: made, found, changed, deleted, moved through stages, searched, tagged."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import String, cast
from sqlmodel import Session, col, select

from shoal_hub.approvals.policy import require_none_needed
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading, Writing
from shoal_hub.mlflow.callers import Reader, Writer
from shoal_hub.mlflow.model_calls import Description
from shoal_hub.mlflow.register_version import Asked
from shoal_hub.mlflow.register_version import register_version as register
from shoal_hub.mlflow.registry_answers import shown_versions, version_owner
from shoal_hub.mlflow.registry_files import uri_of
from shoal_hub.mlflow.route import MlflowRoute
from shoal_hub.mlflow.stage_names import stage_named
from shoal_hub.mlflow.wire import EMPTY, Body, Id, Json, TagBody, named, paged
from shoal_hub.registry.stages import change_stage
from shoal_hub.registry.tables import Stage
from shoal_hub.registry.tracked import delete_version, find_tracked_version, move_tracked, served_version, stage_of
from shoal_hub.registry.tracked_tables import TrackedModel, TrackedVersion
from shoal_hub.requests import Text
from shoal_hub.rollouts.promote import promote
from shoal_hub.rollouts.start import starter_of
from shoal_hub.tracking.conditions import Searched, conditions, orders
from shoal_hub.tracking.experiments import to_ms
from shoal_hub.tracking.filters import read_filter, read_order
from shoal_hub.tracking.pages import read_page
from shoal_hub.tracking.tags import delete_tag, set_tags

router = APIRouter(prefix="/model-versions", route_class=MlflowRoute, include_in_schema=False)

_COMMENT: Final = "by a client of MLflow's API"
_VERSION: Final = Searched(
    kind="version",
    owner=col(TrackedVersion.model).concat("/").concat(cast(col(TrackedVersion.number), String)),
    attributes={
        "name": col(TrackedModel.name),
        "version_number": col(TrackedVersion.number),
        "run_id": col(TrackedVersion.run),
        "source_path": col(TrackedVersion.source),
        "model_id": col(TrackedVersion.logged_model),
        "creation_timestamp": col(TrackedVersion.created_ms),
        "last_updated_timestamp": col(TrackedVersion.updated_ms),
    },
    numeric=frozenset({"version_number", "creation_timestamp", "last_updated_timestamp"}),
)


class CreateModelVersion(Body):
    """A new version."""

    name: Text
    source: Annotated[Text, Field(max_length=4096)]
    run_id: Id = ""
    run_link: Text = ""
    model_id: Id = ""
    description: Description = ""
    tags: tuple[TagBody, ...] = Field(default=(), max_length=100)


class VersionName(Body):
    """Which version."""

    name: Text
    version: Id


class UpdateModelVersion(VersionName):
    """Its description."""

    description: Description | None = None


class TransitionStage(VersionName):
    """Where it goes, and whether those that are there make room."""

    stage: Text
    archive_existing_versions: bool = False


class VersionTag(VersionName, TagBody):
    """A tag of a version."""


class VersionTagKey(VersionName):
    """Which tag."""

    key: Text


class SearchModelVersions(Body):
    """Which versions."""

    filter: Text = ""
    max_results: int = 10_000
    order_by: tuple[Text, ...] = Field(default=(), max_length=20)
    page_token: str = ""


@router.post("/create")
def create_model_version(body: CreateModelVersion, hub: Hub, writer: Writer) -> Json:
    """Register the next version of a model; `status_message` says whether devices can serve it, and else why not."""
    asked = Asked(
        name=body.name,
        source=body.source,
        run=body.run_id,
        run_link=body.run_link,
        logged_model=body.model_id,
        description=body.description,
        tags=named(body.tags),
        by=writer.name,
    )
    row = register(hub, asked)  # opens its transaction by `audited`, once the model has been looked into
    with hub.database.session() as session:
        return _answer(session, row)


@router.get("/get")
def get_model_version(name: Text, version: Id, session: Reading, _reader: Reader) -> Json:
    """Return a version."""
    return _answer(session, find_tracked_version(session, name, version))


@router.get("/get-download-uri")
def get_model_version_download_uri(name: Text, version: Id, session: Reading, _reader: Reader) -> Json:
    """Return under which URI a version's files are."""
    row = find_tracked_version(session, name, version)
    return {"artifact_uri": row.artifact_uri or uri_of(row.model, row.number)}


@router.patch("/update")
def update_model_version(body: UpdateModelVersion, session: Writing, _writer: Writer) -> Json:
    """Describe a version."""
    row = find_tracked_version(session, body.name, body.version)
    if body.description is not None:
        row.description, row.updated_ms = body.description, to_ms(utc_now())
        session.add(row)
    return _answer(session, row)


@router.delete("/delete")
def delete_model_version(body: VersionName, session: Writing, writer: Writer) -> Json:
    """Hide a version, archived; what devices may run is kept."""
    row = find_tracked_version(session, body.name, body.version)
    delete_version(session, row, by=writer.name, now=utc_now())
    return EMPTY


@router.post("/transition-stage")
def transition_stage(body: TransitionStage, hub: Hub, session: Writing, writer: Writer) -> Json:
    """Move a version to a stage; what becomes production archives the former one, and starts the policy's rollout."""
    row = find_tracked_version(session, body.name, body.version)
    stage = stage_named(body.stage)
    if body.archive_existing_versions and stage == "staging":
        _make_room(session, row, by=writer.name)
    _move(hub, session, row, stage, by=writer.name)
    row.updated_ms = to_ms(utc_now())
    session.add(row)
    session.flush()
    return _answer(session, row)


@router.get("/search")
def search_model_versions(asked: Annotated[SearchModelVersions, Query()], session: Reading, _reader: Reader) -> Json:
    """Return one page of the versions that a filter matches, those that changed last first."""
    dialect = session.get_bind().dialect.name
    tracked, model = TrackedVersion, TrackedModel
    shown = (col(tracked.is_hidden).is_(False), col(model.is_hidden).is_(False))
    wanted = (
        select(tracked)
        .join(model, col(model.model) == col(tracked.model))
        .where(*shown, *conditions(_VERSION, read_filter(asked.filter), dialect=dialect))
    )
    ordered = orders(_VERSION, [read_order(one) for one in asked.order_by])
    newest = (col(tracked.updated_ms).desc(), col(model.name), col(tracked.number).desc())
    page = read_page(session, wanted.order_by(*ordered, *newest), limit=asked.max_results, token=asked.page_token)
    return paged("model_versions", shown_versions(session, page.items), page.token)


@router.post("/set-tag")
def set_model_version_tag(body: VersionTag, session: Writing, _writer: Writer) -> Json:
    """Set a tag of a version."""
    row = find_tracked_version(session, body.name, body.version)
    set_tags(session, "version", version_owner(row), {body.key: body.value})
    return EMPTY


@router.delete("/delete-tag")
def delete_model_version_tag(body: VersionTagKey, session: Writing, _writer: Writer) -> Json:
    """Delete a tag of a version."""
    delete_tag(session, "version", version_owner(find_tracked_version(session, body.name, body.version)), body.key)
    return EMPTY


def _move(hub: HubContext, session: Session, row: TrackedVersion, stage: Stage, *, by: str) -> None:
    served = served_version(session, row)
    if stage == "production" and stage_of(session, row) != "production":
        require_none_needed(session, row.model, "production")
    now = utc_now()
    if served is None:
        change_stage(session, row, stage, by=by, comment=_COMMENT, now=now)
    else:
        promote(session, starter_of(hub), served, stage, by=by, comment=_COMMENT, now=now)


def _make_room(session: Session, row: TrackedVersion, *, by: str) -> None:
    """Archive the other versions in staging."""
    others = select(TrackedVersion).where(TrackedVersion.model == row.model, TrackedVersion.number != row.number)
    for other in session.exec(others.order_by(col(TrackedVersion.number))).all():
        if stage_of(session, other) == "staging":
            comment = f"version {row.number} came to staging"
            move_tracked(session, other, "archived", by=by, comment=comment, now=utc_now())


def _answer(session: Session, row: TrackedVersion) -> Json:
    return {"model_version": shown_versions(session, [row])[0]}
