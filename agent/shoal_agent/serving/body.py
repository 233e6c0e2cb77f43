"""What a request's head says of its body: how it is compressed, and where its JSON ends."""

import zlib
from typing import Final

from shoal_agent.endpoint import Request, RequestError
from shoal_agent.endpoint.message import TOO_LARGE, Piece

_JSON_BYTES: Final = b"inference-header-content-length"
_MOST_DIGITS: Final = 18
_UNSUPPORTED: Final = 415


def json_bytes(request: Request) -> int | None:
    """Return how many bytes of the body are JSON; None: all.

    Raises:
        RequestError: The header is no number.
    """
    found = request.header(_JSON_BYTES)
    if not found:
        return None
    if not found.isdecimal() or len(found) > _MOST_DIGITS:
        raise RequestError(f"Inference-Header-Content-Length is {found[:_MOST_DIGITS]!r}, expected a number of bytes")
    return int(found)


def inflated(request: Request, most_bytes: int) -> Piece:
    """Return the body without its compression.

    Raises:
        RequestError: It is damaged, grows beyond its bound, or is compressed in another way.
    """
    coding = request.header(b"content-encoding").strip().lower()
    if coding in {"", "identity"}:
        return request.body
    if coding not in {"gzip", "deflate"}:
        remedy = "send it as it is, or with gzip or deflate"
        raise RequestError(f"the body's Content-Encoding is {coding[:20]!r}", _UNSUPPORTED, remedy)
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either header
    try:
        body = inflater.decompress(request.body, most_bytes + 1)
    except zlib.error as error:
        raise RequestError(f"the body is not {coding}: {error}") from error
    if len(body) > most_bytes:
        message = f"the body is too large: more than {most_bytes} bytes once it is inflated"
        raise RequestError(message, TOO_LARGE, "send fewer samples in one request")
    if not inflater.eof or inflater.unused_data:
        raise RequestError(f"the body is {coding} that does not end where it should")
    return body
