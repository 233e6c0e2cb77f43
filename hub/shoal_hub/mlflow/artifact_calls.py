"""Calls about files: sent, read, listed, deleted; their bytes go through the hub into its artifact store."""

from collections.abc import Iterator
from typing import Final

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse
from sqlmodel import Session

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading, Writing, audited
from shoal_hub.errors import InvalidInputError
from shoal_hub.mlflow.callers import Reader, Writer
from shoal_hub.mlflow.receive import receive
from shoal_hub.mlflow.registry_files import REGISTRY, find_registered, list_registered
from shoal_hub.mlflow.route import MlflowRoute
from shoal_hub.mlflow.sources import hub_path
from shoal_hub.mlflow.wire import EMPTY, Id, Json
from shoal_hub.registry.artifacts import ArtifactStore, StoredArtifact
from shoal_hub.registry.incoming import GATHERED_BYTES
from shoal_hub.registry.ranged_file import RangedFile
from shoal_hub.requests import Text
from shoal_hub.tracking.files import Listed, check_path, delete_files, find_file, keep_file, list_folder
from shoal_hub.tracking.runs import find_run

router = APIRouter(route_class=MlflowRoute, include_in_schema=False)
listing_router = APIRouter(route_class=MlflowRoute, include_in_schema=False)
_BYTES: Final = "application/octet-stream"


class _StreamedFile(RangedFile):
    """A file in large blocks: each is a call into a thread."""

    chunk_size = GATHERED_BYTES


@router.put("/artifacts/{path:path}")
async def upload_artifact(path: str, request: Request, hub: Hub, writer: Writer) -> Json:
    """Keep a file under a path."""
    place = own_path(path)
    stored = await receive(request, hub)
    await run_in_threadpool(_keep, hub, place, stored, writer.name)
    return EMPTY


@router.get("/artifacts", response_model=None)
def list_artifacts(session: Reading, _reader: Reader, path: Text = "") -> Json:
    """Return what is in a folder."""
    return {"files": _shown(_listed(session, path.strip("/")))}


@router.get("/artifacts/{path:path}")
def download_artifact(path: str, hub: Hub, session: Reading, _reader: Reader) -> Response:
    """Return a file's bytes, whole or a range of them."""
    place = check_path(path)
    if place.startswith(f"{REGISTRY}/"):
        sha256, size_bytes = find_registered(session, place)
    else:
        row = find_file(session, place)
        sha256, size_bytes = row.sha256, row.size_bytes
    return stored_file(hub.artifacts, sha256, size_bytes)


@router.delete("/artifacts/{path:path}")
def delete_artifact(path: str, hub: Hub, session: Writing, _writer: Writer) -> Json:
    """Delete a file, or a folder with all in it."""
    delete_files(session, hub.artifacts, own_path(path.strip("/")))
    return EMPTY


@listing_router.get("/artifacts/list")
def list_run_artifacts(session: Reading, _reader: Reader, run_id: Id = "", run_uuid: Id = "", path: Text = "") -> Json:
    """Return what is in a folder of a run, by paths from the run's own folder."""
    row = find_run(session, run_id or run_uuid)
    root, inside = hub_path(row.artifact_uri), path.strip("/")
    if root is None:
        raise InvalidInputError(
            f"files of the run {row.id} are at {row.artifact_uri}, not at the hub", "list them there"
        )
    listed = _listed(session, f"{root}/{inside}" if inside else root)
    start = f"{inside}/" if inside else ""
    return {"root_uri": row.artifact_uri, "files": [one | {"path": start + one["path"]} for one in _shown(listed)]}


def _keep(hub: HubContext, path: str, stored: StoredArtifact, by: str) -> None:
    with audited(hub) as session:
        keep_file(session, hub.artifacts, path, stored, by=by, now=utc_now())


def _listed(session: Session, path: str) -> list[Listed]:
    return list_registered(session, path) if path.startswith(f"{REGISTRY}/") else list_folder(session, path)


def _shown(listed: list[Listed]) -> list[Json]:
    return [
        {"path": one.name, "is_dir": one.is_folder} | ({} if one.is_folder else {"file_size": one.size_bytes})
        for one in listed
    ]


def own_path(path: str) -> str:
    """Return a path that clients may write to: not one of those that show what the registry has."""
    if check_path(path).split("/")[0] == REGISTRY:
        raise InvalidInputError(f"{path[:200]!r} is a file of the registry, which never changes", "register a version")
    return path


def stored_file(store: ArtifactStore, sha256: str, size_bytes: int) -> Response:
    """Return a file of the store for whoever saves it; a browser shows it as no page of this site."""
    headers = {
        "etag": f'"{sha256}"',
        "cache-control": "private, no-cache",
        "x-content-type-options": "nosniff",
        "content-disposition": "attachment",
    }
    path = store.local_path(sha256)
    if path is not None:
        return _StreamedFile(path, media_type=_BYTES, headers=headers)
    return StreamingResponse(
        _blocks(store, sha256), media_type=_BYTES, headers=headers | {"content-length": str(size_bytes)}
    )


def _blocks(store: ArtifactStore, sha256: str) -> Iterator[bytes]:
    with store.open(sha256) as file:
        while block := file.read(GATHERED_BYTES):
            yield block
