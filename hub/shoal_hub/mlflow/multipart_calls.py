"""Calls of uploads in parts: begun, filled, put together, given up.

Clients send parts without their token, as they would to an object store; the headers that they are told to send open
this one upload.
"""

from pathlib import PurePosixPath
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import Field

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Writing, audited
from shoal_hub.mlflow.artifact_calls import own_path
from shoal_hub.mlflow.callers import Writer
from shoal_hub.mlflow.receive import receive
from shoal_hub.mlflow.route import MlflowRoute
from shoal_hub.mlflow.wire import EMPTY, Body, Id, Json
from shoal_hub.registry.artifacts import StoredArtifact
from shoal_hub.requests import Text
from shoal_hub.tracking.files import check_room, keep_file
from shoal_hub.tracking.uploads import begin_upload, check_part, end_upload, join_parts, keep_part

router = APIRouter(route_class=MlflowRoute, include_in_schema=False)

_HEADER: Final = "x-shoal-upload"
_PARTS: Final = "/parts"


class CreateUpload(Body):
    """A new upload; of `path`, the client's own, the file's name counts."""

    path: Text
    num_parts: int = 1


class PartBody(Body):
    """A part that was sent, and what the hub answered."""

    part_number: int
    etag: Text = ""


class CompleteUpload(Body):
    """Which upload, of which parts."""

    upload_id: Id
    parts: tuple[PartBody, ...] = Field(default=(), max_length=10_000)


class AbortUpload(Body):
    """Which upload."""

    upload_id: Id


@router.post("/mpu/create/{path:path}")
def create_multipart_upload(
    path: str, body: CreateUpload, request: Request, hub: Hub, session: Writing, writer: Writer
) -> Json:
    """Begin an upload; answer where each part goes, at the address by which the client has come."""
    place = own_path(f"{path.strip('/')}/{PurePosixPath(body.path.replace(chr(92), '/')).name}")
    begun = begin_upload(session, hub.artifacts, place, body.num_parts, by=writer.name, now=utc_now())
    root = str(request.url).partition("/mpu/create/")[0]
    credentials = [
        {"url": f"{root}{_PARTS}/{begun.id}/{number}", "part_number": number, "headers": {_HEADER: begun.secret}}
        for number in range(1, begun.parts + 1)
    ]
    return {"upload_id": begun.id, "credentials": credentials}


@router.put(f"{_PARTS}/{{upload_id}}/{{number}}")
async def upload_part(
    upload_id: Id, number: int, request: Request, hub: Hub, x_shoal_upload: Annotated[str, Header()] = ""
) -> Response:
    """Keep a part; the header ETag says its hash."""
    await run_in_threadpool(_check, hub, upload_id, number, x_shoal_upload)
    stored = await receive(request, hub)
    await run_in_threadpool(_keep, hub, upload_id, number, x_shoal_upload, stored)
    return JSONResponse({}, headers={"etag": f'"{stored.sha256}"'})


@router.post("/mpu/complete/{path:path}")
def complete_multipart_upload(path: str, body: CompleteUpload, hub: Hub, writer: Writer) -> Json:  # noqa: ARG001 - the upload knows its path
    """Put an upload's parts together under its path."""
    ordered = sorted(body.parts, key=lambda part: part.part_number)
    tags = [part.etag for part in ordered]
    place, stored = join_parts(hub.database, hub.artifacts, body.upload_id, tags, hub.settings.data / "uploads")
    with audited(hub) as session:
        check_room(session, hub.settings, stored.size_bytes)
        keep_file(session, hub.artifacts, place, stored, by=writer.name, now=utc_now())
        end_upload(session, hub.artifacts, body.upload_id)
    return EMPTY


@router.post("/mpu/abort/{path:path}")
def abort_multipart_upload(path: str, body: AbortUpload, hub: Hub, session: Writing, _writer: Writer) -> Json:  # noqa: ARG001 - likewise
    """Give an upload up, and forget its parts."""
    end_upload(session, hub.artifacts, body.upload_id)
    return EMPTY


def _check(hub: HubContext, upload_id: str, number: int, secret: str) -> None:
    with hub.database.session() as session:
        check_part(session, upload_id, number, secret)


def _keep(hub: HubContext, upload_id: str, number: int, secret: str, stored: StoredArtifact) -> None:
    with hub.database.transaction() as session:
        keep_part(session, hub.artifacts, check_part(session, upload_id, number, secret), number, stored)
