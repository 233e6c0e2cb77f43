"""Routes of the registry: models, versions, aliases, stages and artifacts."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Form, Header, UploadFile
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ValidationError
from sqlmodel import col, select

from shoal_contract.ids import Name, Sha256, sha256_hex
from shoal_hub.database import announce, utc_now
from shoal_hub.dependencies import Hub, ModelOperator, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.errors import InvalidInputError, NotFoundError
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.inspection import inspect_in_child
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.registry.public import (
    ModelDetail,
    ModelSummary,
    VersionDetail,
    model_detail,
    summarise_model,
    version_detail,
)
from shoal_hub.registry.publish import manifest_to_serve
from shoal_hub.registry.ranged_file import PARTS, RangedFile
from shoal_hub.registry.records import keep_records
from shoal_hub.registry.register import RegisterRequest, read_checked_bundle, register
from shoal_hub.registry.stages import RolloutPolicy
from shoal_hub.registry.tables import Artifact, Model
from shoal_hub.registry.upload import uploaded_bundle
from shoal_hub.registry.versions import find_model, find_version, set_alias
from shoal_hub.requests import Line, RowNumber

router = APIRouter(tags=["models"])

_BLOCK_BYTES = 1 << 20
_JSON = "application/json"
_MANIFEST: dict[int | str, dict[str, Any]] = {
    200: {"content": {_JSON: {}}},
    304: {"description": "It is the one that If-None-Match names"},
}


class ModelUpdate(BaseModel):
    """What an operator may change of a model; what is left out stays."""

    description: Line | None = None
    rollout_on_production: RolloutPolicy | None = None
    encrypt_versions: bool | None = None
    """Whether versions that are registered from now on are encrypted."""


class AliasTarget(BaseModel):
    """The version that an alias shall point at."""

    number: RowNumber


@router.get("/models", responses=documented(401, 403))
def list_models(session: Reading, _viewer: Viewer) -> list[ModelSummary]:
    """List models by name."""
    rows = session.exec(select(Model).order_by(col(Model.name)).limit(1000))
    return [summarise_model(session, row) for row in rows]


@router.get("/models/{name}", responses=documented(401, 403, 404, 422))
def read_model(name: Name, session: Reading, _viewer: Viewer) -> ModelDetail:
    """Return a model with its versions, aliases and policy."""
    return model_detail(session, find_model(session, name))


@router.patch("/models/{name}", responses=documented(400, 401, 403, 404, 413, 422))
def update_model(name: Name, body: ModelUpdate, session: Writing, _operator: ModelOperator) -> ModelDetail:
    """Describe a model, set whether new versions are encrypted, or the rollout that production starts (null: none)."""
    model = find_model(session, name)
    if body.description is not None:
        model.description = body.description
    if "rollout_on_production" in body.model_fields_set:
        policy = body.rollout_on_production
        model.rollout_on_production = policy.model_dump(mode="json") if policy else None
    if body.encrypt_versions is not None:
        model.encrypt_versions = body.encrypt_versions
    session.add(model)
    announce(session, "models")
    return model_detail(session, model)


@router.post("/models/{name}/versions", status_code=201, responses=documented(400, 401, 403, 409, 413, 422))
def register_version(
    name: Name,
    bundle: Annotated[str, Form(max_length=65_536, description="A RegisterRequest as JSON")],
    files: list[UploadFile],
    hub: Hub,
    operator: ModelOperator,
) -> VersionDetail:
    """Register the next version of a model from the files of a bundle; the model is made if it is new."""
    request = _read_request(bundle)
    with uploaded_bundle(files, hub.settings.data / "uploads", hub.settings.max_body_bytes) as folder:
        checked = read_checked_bundle(folder, name, is_licence_required=hub.settings.require_licence)
        inspection = inspect_in_child(folder, BundleLimits.of(hub.settings))
        with hub.database.transaction() as session:
            version = register(
                session, hub.artifacts, folder, checked, inspection, request, by=operator.name, now=utc_now()
            )
            keep_records(session, hub.artifacts, hub.director.sign, version)
            return version_detail(session, version)


@router.get("/models/{name}/versions/{ref}", responses=documented(401, 403, 404, 422))
def read_version(name: Name, ref: Line, session: Reading, _viewer: Viewer) -> VersionDetail:
    """Return a version by number, `latest`, stage or alias."""
    return version_detail(session, find_version(session, name, ref))


@router.get(
    "/models/{name}/versions/{ref}/manifest",
    response_class=Response,
    responses=_MANIFEST | documented(401, 403, 404, 409, 422),
)
def read_manifest(
    name: Name, ref: Line, session: Reading, _viewer: Viewer, if_none_match: Annotated[str, Header()] = ""
) -> Response:
    """Return a version's manifest as it stands, by number, `latest`, stage or alias, whether rolled out or not.

    Servers beside the hub load by it. Of an encrypted version devices alone get it.
    """
    data = manifest_to_serve(session, find_version(session, name, ref))
    etag = f'"{sha256_hex(data)}"'
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if if_none_match == etag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=_JSON, headers=headers)


@router.put("/models/{name}/aliases/{alias}", responses=documented(400, 401, 403, 404, 409, 413, 422))
def move_alias(name: Name, alias: Name, body: AliasTarget, session: Writing, _operator: ModelOperator) -> VersionDetail:
    """Point an alias at a version."""
    set_alias(session, name, alias, body.number)
    announce(session, "models")
    return version_detail(session, find_version(session, name, str(body.number)))


@router.get("/artifacts/{sha256}", response_class=Response, responses=PARTS | documented(400, 401, 403, 404, 416, 422))
def read_artifact(sha256: Sha256, hub: Hub, session: Reading, _viewer: Viewer) -> Response:
    """Return an artifact's bytes; range requests are answered where the store is a folder."""
    artifact = session.get(Artifact, sha256)
    if artifact is None or not hub.artifacts.has(sha256):
        raise NotFoundError(f"no artifact {sha256}", "see the files and variants of a version for the hashes")
    headers = {"etag": f'"{sha256}"', "cache-control": "private, max-age=31536000, immutable"}
    path = hub.artifacts.local_path(sha256)
    if path is not None:
        return RangedFile(path, media_type="application/octet-stream", headers=headers)
    headers["content-length"] = str(artifact.size_bytes)
    return StreamingResponse(_blocks(hub.artifacts, sha256), media_type="application/octet-stream", headers=headers)


def _read_request(text: str) -> RegisterRequest:
    try:
        return RegisterRequest.model_validate_json(text)
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole field"
        msg = f"reading the field `bundle`: {where}: {first['msg']}"
        raise InvalidInputError(msg, "send a RegisterRequest as JSON, {} at least") from error


def _blocks(store: ArtifactStore, sha256: str) -> Iterator[bytes]:
    with store.open(sha256) as file:
        while block := file.read(_BLOCK_BYTES):
            yield block
