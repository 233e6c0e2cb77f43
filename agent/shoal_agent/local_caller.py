"""Who asks the local endpoint: a program on this device, or a web page in its browser, or another device.

A web page reaches loopback, too. Before a PUT or DELETE its browser asks for a permission that is never given, but a
POST of plain text it sends at once: what refuses that is the `Origin` header, which a page can neither leave out of a
POST nor choose. A name that was made to lead here is refused by the `Host` header. Where the endpoint is open to the
network, who asks from there is refused by the address that it asks from.
"""

import ipaddress
import json
from typing import Final, TypeVar

import anyio
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from shoal_agent.serving.refusal import REQUEST_TIMEOUT, RequestError

_LOCAL: Final = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_FORBIDDEN: Final = 403
Form = TypeVar("Form", bound=BaseModel)


def check_local(request: Request, path: str) -> None:
    """See that a program on this device asks.

    Args:
        request: What is asked.
        path: The route, for the error.

    Raises:
        RequestError: Another device or a web page asks.
    """
    host = request.headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    client = request.client.host if request.client else ""
    remedy = "ask from the device itself, at 127.0.0.1"
    if not _is_loopback(client):
        message = f"{request.method} {path}: asked from {client or 'nowhere'}, only programs on this device may"
        raise RequestError(message, _FORBIDDEN, remedy)
    if name not in _LOCAL or "origin" in request.headers:
        message = f"{request.method} {path}: asked of {host[:100]!r}, programs on this device ask 127.0.0.1"
        raise RequestError(message, _FORBIDDEN, remedy)


async def read_json(
    request: Request, path: str, kind: type[Form], max_bytes: int, example: str, timeout_s: float
) -> Form:
    """Read a request's body; an empty one stands for `{}`.

    Args:
        request: What is asked.
        path: The route, for the error.
        kind: What the body has to be.
        max_bytes: A larger body is refused as it comes.
        example: A body that is right, for the error.
        timeout_s: A body that has not ended by then is refused, so that nobody holds a connection for ever.

    Raises:
        RequestError: The body is too large, too slow, no JSON or of another form.
    """
    body, doing = bytearray(), f"{request.method} {path}"
    try:
        with anyio.fail_after(timeout_s):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise RequestError(f"{doing}: more than {max_bytes} bytes sent")
    except TimeoutError as error:
        message = f"{doing}: the request did not end within {timeout_s:g} s"
        raise RequestError(message, REQUEST_TIMEOUT, "send the whole request at once") from error
    remedy = f"send JSON such as {example}"
    try:
        return kind.model_validate(json.loads(body or b"{}"))
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"{doing}: {'.'.join(map(str, first['loc']))}: {first['msg']}", remedy=remedy) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{doing}: the body is not JSON", remedy=remedy) from error


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # of a socket for both, which is loopback no more in its long form
    return (mapped or address).is_loopback
