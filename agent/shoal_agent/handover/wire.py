"""How one device asks another for an inference: the Open Inference Protocol v2 with a few headers more."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from shoal_agent.endpoint.message import Piece
from shoal_agent.handover.choice import Wanted
from shoal_agent.serving.infer import KEY_HEADER, TIMEOUT_HEADER

PASSED_HEADER: Final = b"shoal-passed"
"""A request that carries it is answered where it is, or not at all."""
MANIFEST_HEADER: Final = b"shoal-manifest"
"""The hash of the manifest that has to answer."""
LOAD_HEADER: Final = b"shoal-load"
"""In an answer: the requests that run or wait there."""
BY_HEADER: Final = "shoal-answered-by"
_KEPT: Final = (b"content-type", b"content-encoding", b"inference-header-content-length", KEY_HEADER)
_QUERY: Final = "=&%+"
_GIVEN: Final = frozenset({b"inference-header-content-length"})


def path_of(wanted: Wanted, query: str) -> str:
    """Return the path at which this very version is asked, with the query that the request came with."""
    path = f"/v2/models/{quote(wanted.model, safe='')}/versions/{wanted.version}/{wanted.call}"
    return f"{path}?{quote(query, safe=_QUERY)}" if query else path  # whatever a client put there


def headers_for(
    headers: Mapping[bytes, bytes], wanted: Wanted, body: Piece, timeout_s: float
) -> list[tuple[bytes, bytes]]:
    """Return the head of a request that is passed on."""
    own = {
        b"host": b"neighbour",
        b"content-length": str(memoryview(body).nbytes).encode(),
        PASSED_HEADER: b"1",
        MANIFEST_HEADER: wanted.manifest_sha256.encode(),
        TIMEOUT_HEADER: str(max(1, int(timeout_s * 1000))).encode(),
    }
    return [*own.items(), *((name, headers[name]) for name in _KEPT if name in headers)]


def headers_back(headers: Mapping[bytes, bytes], by: str) -> list[tuple[str, str]]:
    """Return the head of the answer that the client gets."""
    given = [(name.decode(), headers[name].decode("latin-1")) for name in _GIVEN if name in headers]
    return [*given, (BY_HEADER, by)]


def load_of(headers: Mapping[bytes, bytes]) -> int | None:
    """Return what a neighbour says that it has to do; None where it does not say."""
    found = headers.get(LOAD_HEADER, b"")
    return int(found) if found.isdigit() and len(found) < 7 else None  # noqa: PLR2004 - no device has a million
