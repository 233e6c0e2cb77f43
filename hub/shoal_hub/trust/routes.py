"""Routes of trust: metadata, public and signed, for devices without a token; and the operators' side of keys."""

from urllib.parse import unquote

from fastapi import APIRouter, Response

from shoal_client.tuf import Rotation, SigningRequest, TrustStatus
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Admin, Hub, Reading, Viewer, Writing
from shoal_hub.error_response import documented
from shoal_hub.errors import NotFoundError
from shoal_hub.trust.roles import TIMESTAMP, parse_stored_name
from shoal_hub.trust.staging import Staging
from shoal_hub.trust.status import read_status
from shoal_hub.trust.tables import TrustMetadata, TrustTarget

router = APIRouter(prefix="/trust", tags=["trust"])

_JSON = "application/json"
_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_NEVER = {"cache-control": "no-cache"}


@router.get("/metadata/{file:path}", response_class=Response, responses=documented(404, 422))
def read_metadata(file: str, session: Reading, hub: Hub) -> Response:
    """Return TUF metadata: `timestamp.json`, or `<version>.<role>.json` with the role percent-encoded."""
    name = unquote(file).removesuffix(".json")
    if name == TIMESTAMP:
        row = hub.trust.reading(session).newest(TIMESTAMP)
        if row is not None:
            return Response(row.content, media_type=_JSON, headers=_NEVER)
    if (parsed := parse_stored_name(name)) is not None:
        version, role = parsed
        found = session.get(TrustMetadata, (role, version))
        if found is not None:
            return Response(found.content, media_type=_JSON, headers=_FOREVER)
    raise NotFoundError(f"there is no metadata {file[:200]!r}", "begin with timestamp.json, which names the rest")


@router.get("/targets/{path:path}", response_class=Response, responses=documented(404, 422))
def read_target(path: str, session: Reading) -> Response:
    """Return a file that the top-level targets list, by its name with the hash before it (`hub/<sha256>.ca.pem`)."""
    folder, _, file = path.rpartition("/")
    sha256, _, name = file.partition(".")
    found = session.get(TrustTarget, (f"{folder}/{name}", sha256)) if "\x00" not in path else None
    if found is None:
        raise NotFoundError(f"there is no target {path[:200]!r}", "the targets metadata lists what there is")
    return Response(found.content, media_type="application/octet-stream", headers=_FOREVER)


@router.get("", responses=documented(401, 403))
def read_trust(session: Reading, hub: Hub, _viewer: Viewer) -> TrustStatus:
    """Return roles, keys and where they lie, what waits for signatures, and what somebody should look at."""
    return read_status(session, hub.trust, utc_now())


@router.post("/rotations", responses=documented(400, 401, 403, 404, 409, 413, 422))
def rotate_keys(rotation: Rotation, hub: Hub, _admin: Admin) -> TrustStatus:
    """Give a role new keys. What offline keys must sign waits until they have; everything else is in force at once."""
    with hub.database.transaction() as session:
        hub.trust.rotate(session, rotation)
    return _after_a_change(hub)


@router.get("/staged", responses=documented(401, 403, 409))
def read_staged(session: Reading, hub: Hub, _viewer: Viewer) -> SigningRequest:
    """Return what waits for signatures by offline keys, with what is in force."""
    return Staging(hub.trust.reading(session)).request()


@router.post("/staged", responses=documented(400, 401, 403, 409, 413, 422))
def sign_staged(signed: SigningRequest, hub: Hub, _admin: Admin) -> TrustStatus:
    """Take signatures by offline keys; the change is published once there are enough."""
    with hub.database.transaction() as session:
        Staging(hub.trust.writing(session)).take(signed)
    return _after_a_change(hub)


@router.delete("/staged", responses=documented(401, 403))
def discard_staged(session: Writing, hub: Hub, _admin: Admin) -> TrustStatus:
    """Drop what waits for signatures."""
    Staging(hub.trust.writing(session)).discard()
    return read_status(session, hub.trust, utc_now())


def _after_a_change(hub: Hub) -> TrustStatus:
    """Let go of keys that were replaced, now that what replaced them is committed, and return the status."""
    with hub.database.transaction() as session:
        hub.trust.sweep(session)
        hub.trust.follow(session, hub.director)
        return read_status(session, hub.trust, utc_now())
