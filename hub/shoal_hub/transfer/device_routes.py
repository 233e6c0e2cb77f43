"""Routes by which devices fetch what does not come over the broker: an artifact's chunks' list, and ranges of it.

The same hashes as over MQTT, so that a transfer goes on over the other way where it was.
"""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, HTTPException, Response
from sqlmodel import Session

from shoal_contract.ids import Sha256
from shoal_contract.limits import MAX_RANGE_BYTES
from shoal_contract.transfer import chunk_bytes_for
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading
from shoal_hub.error_response import documented
from shoal_hub.errors import NotFoundError
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.tables import Artifact
from shoal_hub.transfer.chunk_lists import list_chunks
from shoal_hub.transfer.deltas import named_deltas
from shoal_hub.transfer.device_proof import SignedRequest, check_request, read_request
from shoal_hub.transfer.tables import Retained

router = APIRouter(prefix="/device/artifacts", tags=["devices' own"])

_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})")
_PARTIAL: Final = 206
_NO_SUCH_RANGE: Final = 416
_RANGES: Final[dict[int | str, dict[str, Any]]] = {
    206: {
        "description": "The range that was asked for",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_HEADER: Final = "`Shoal-Device` and the base64 of a signed ArtifactRequest (DSSE)"


def _signed(session: Reading, authorization: Annotated[str, Header(description=_HEADER)] = "") -> SignedRequest:
    return read_request(session, authorization)


Signed = Annotated[SignedRequest, Depends(_signed)]


@router.get(
    "/{sha256}",
    status_code=_PARTIAL,
    response_class=Response,
    responses=_RANGES | documented(401, 403, 404, 409, 416, 422, 429),
)
def read_range(
    sha256: Sha256,
    hub: Hub,
    session: Reading,
    signed: Signed,
    range_: Annotated[str, Header(alias="Range", max_length=64, description="One range, `bytes=FIRST-LAST`")] = "",
) -> Response:
    """Return one range of an artifact that the device's desired state leads to, of a mebibyte at most."""
    artifact = _allowed(hub, session, signed, sha256)
    first, last = _range_of(range_, artifact.size_bytes)
    headers = {
        "content-range": f"bytes {first}-{last}/{artifact.size_bytes}",
        "etag": f'"{sha256}"',
        "cache-control": "no-store",
    }
    data = _part(hub.artifacts, sha256, first, last)
    return Response(data, _PARTIAL, headers, media_type="application/octet-stream")


@router.get("/{sha256}/chunks", response_class=Response, responses=documented(401, 403, 404, 409, 422, 429))
def read_chunk_list(sha256: Sha256, hub: Hub, session: Reading, signed: Signed) -> Response:
    """Return the transfer manifest of an artifact, as it stands or would stand at the broker."""
    artifact = _allowed(hub, session, signed, sha256)
    retained = session.get(Retained, sha256)
    chunk_bytes = retained.chunk_bytes if retained is not None else chunk_bytes_for(artifact.size_bytes)
    manifest = list_chunks(hub.database, hub.artifacts, sha256, chunk_bytes)
    deltas = named_deltas(session).get(sha256, {})
    listed = manifest.model_copy(update={"deltas": deltas}).to_bytes()
    return Response(listed, media_type="application/json", headers={"cache-control": "no-store"})


def _allowed(hub: HubContext, session: Session, signed: SignedRequest, sha256: str) -> Artifact:
    device_id = check_request(session, signed, sha256, hub.settings.renew_clock_s, utc_now())
    hub.device_fetches.take(device_id, f"device {device_id}")
    artifact = session.get(Artifact, sha256)
    if artifact is None or not hub.artifacts.has(sha256):
        raise NotFoundError(f"artifact {sha256} is not in the store", "restore the store from a backup")
    return artifact


def _range_of(text: str, size_bytes: int) -> tuple[int, int]:
    """Return the first and the last byte that a header asks for; both are there, and they are few enough."""
    found = _RANGE.fullmatch(text)
    first, last = (int(found[1]), int(found[2])) if found else (0, MAX_RANGE_BYTES)
    if not first <= last < size_bytes or last - first >= MAX_RANGE_BYTES:
        msg = f"the header Range is {text!r}; bytes=FIRST-LAST, {MAX_RANGE_BYTES} at most, of {size_bytes} was expected"
        raise HTTPException(_NO_SUCH_RANGE, msg, {"content-range": f"bytes */{size_bytes}"})
    return first, last


def _part(store: ArtifactStore, sha256: str, first: int, last: int) -> bytes:
    with store.open(sha256) as file:
        file.seek(first)
        return file.read(last - first + 1)
