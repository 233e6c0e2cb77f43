"""A request's body within its bounds of size and time."""

from typing import Final

import anyio
from starlette.types import Receive, Scope

from shoal_agent.serving.refusal import REQUEST_TIMEOUT, TOO_LARGE, RequestError
from shoal_agent.serving.settings import ServingSettings

_BINARY_HEADER: Final = b"inference-header-content-length"
_MAX_LENGTH_DIGITS: Final = 18


async def read_body(scope: Scope, receive: Receive, settings: ServingSettings) -> bytes:
    """Read a request's body; never holds more than `max_body_bytes` and one piece.

    Raises:
        RequestError: Too large (by its announced length, or while it comes), too slow, broken off, or binary.
    """
    _check_head(scope, settings.max_body_bytes)
    body = b""
    try:
        with anyio.fail_after(settings.body_timeout_s):
            message = await receive()
            pieces = bytearray(message.get("body", b""))
            while message["type"] == "http.request" and message.get("more_body", False):
                if len(pieces) > settings.max_body_bytes:
                    raise _too_large(f"more than {settings.max_body_bytes} bytes sent", settings.max_body_bytes)
                message = await receive()
                pieces += message.get("body", b"")
            body = bytes(pieces)
    except TimeoutError as error:
        msg = f"the request did not end within {settings.body_timeout_s:g} s"
        raise RequestError(msg, REQUEST_TIMEOUT, remedy="send the whole request at once") from error
    if message["type"] == "http.disconnect":
        msg = f"the client closed the connection after {len(body)} bytes of its request"
        raise RequestError(msg)
    if len(body) > settings.max_body_bytes:
        raise _too_large(f"{len(body)} bytes sent", settings.max_body_bytes)
    return body


def _check_head(scope: Scope, limit_bytes: int) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            digits = value.decode("latin-1")[:_MAX_LENGTH_DIGITS]
            if digits.isdecimal() and int(digits) > limit_bytes:
                raise _too_large(f"{digits} bytes announced", limit_bytes)
        elif name == _BINARY_HEADER:
            msg = "the request uses the binary tensor extension, which this endpoint does not offer"
            raise RequestError(msg, remedy="send tensors as JSON arrays (tritonclient: binary_data=False)")


def _too_large(found: str, limit_bytes: int) -> RequestError:
    msg = f"the body is too large: {found}, at most {limit_bytes} allowed"
    return RequestError(msg, TOO_LARGE, remedy="send fewer samples in one request")
