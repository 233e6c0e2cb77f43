"""Who asks the local endpoint: a program on this device, or a web page in its browser, or another device.

A web page reaches loopback, too. Before a PUT or DELETE its browser asks for a permission that is never given, but a
POST of plain text it sends at once: what refuses that is the `Origin` header, which a page can neither leave out of a
POST nor choose. A name that was made to lead here is refused by the `Host` header. Where the endpoint is open to the
network, who asks from there is refused by the address that it asks from.
"""

import ipaddress
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from shoal_agent.endpoint import Request, RequestError

_LOCAL: Final = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_FORBIDDEN: Final = 403
Form = TypeVar("Form", bound=BaseModel)


def check_local(request: Request) -> None:
    """See that a program on this device asks.

    Raises:
        RequestError: Another device or a web page asks.
    """
    host = request.header(b"host")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    doing, remedy = f"{request.method} {request.path}", "ask from the device itself, at 127.0.0.1"
    if request.peer is not None and not _is_loopback(request.peer):
        message = f"{doing}: asked from {request.peer or 'nowhere'}, only programs on this device may"
        raise RequestError(message, _FORBIDDEN, remedy)
    if ((name not in _LOCAL or "," in host) and request.peer is not None) or b"origin" in request.headers:
        message = f"{doing}: asked of {host[:100]!r}, programs on this device ask 127.0.0.1"
        raise RequestError(message, _FORBIDDEN, remedy)


def read_json(request: Request, kind: type[Form], example: str) -> Form:
    """Read a request's body; an empty one stands for `{}`.

    Args:
        request: What is asked.
        kind: What the body has to be.
        example: A body that is right, for the error.

    Raises:
        RequestError: The body is no JSON or of another form.
    """
    doing, remedy = f"{request.method} {request.path}", f"send JSON such as {example}"
    try:
        return kind.model_validate(from_json(bytes(request.body) or b"{}"))
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"{doing}: {'.'.join(map(str, first['loc']))}: {first['msg']}", remedy=remedy) from error
    except ValueError as error:
        raise RequestError(f"{doing}: the body is not JSON", remedy=remedy) from error


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # of a socket for both, which is loopback no more in its long form
    return (mapped or address).is_loopback
