"""What programs on this device may ask of the agent besides inference: to hold what serves, and to release it.

`GET`, `PUT` and `DELETE /shoal/v1/hold`, on the loopback endpoint alone. A web page in a browser on the device reaches
loopback, too: it can send neither JSON by PUT nor a DELETE without a permission that is never given, and a name that
was made to lead here is refused by the `Host` header. Where the endpoint is open to the network, who asks from there is
refused by the address that it asks from.
"""

import ipaddress
import json
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shoal_agent.errors import DiskError
from shoal_agent.hold import MAX_HOLD_S, MAX_REASON_CHARS, Hold, HoldFile
from shoal_agent.serving.refusal import RequestError, json_response, refuse

_PATH: Final = "/shoal/v1/hold"
_LOCAL: Final = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_MAX_BODY_BYTES: Final = 4096
_FORBIDDEN: Final = 403


class _Asked(BaseModel):
    """The body of a PUT."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=MAX_REASON_CHARS)
    for_s: float | None = Field(default=None, gt=0, le=MAX_HOLD_S)


def hold_routes(file: HoldFile) -> list[Route]:
    """Return the routes by which programs on this device hold and release what serves."""

    async def answer(request: Request) -> Response:
        try:
            _check_local(request)
            if request.method == "PUT":
                file.put(await _read(request, file))
            elif request.method == "DELETE":
                file.release()
        except (RequestError, DiskError) as error:
            return refuse(error)
        return json_response(_shown(file.read()))

    return [Route(_PATH, answer, methods=["GET", "PUT", "DELETE"])]


def _check_local(request: Request) -> None:
    host = request.headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    client = request.client.host if request.client else ""
    if not _is_loopback(client):
        message = f"{request.method} {_PATH}: asked from {client or 'nowhere'}, only programs on this device may"
        raise RequestError(message, _FORBIDDEN, "ask from the device itself, or use shoal-agent hold there")
    if name not in _LOCAL or "origin" in request.headers:
        message = f"{request.method} {_PATH}: asked of {host[:100]!r}, programs on this device ask 127.0.0.1"
        raise RequestError(message, _FORBIDDEN, "ask from the device itself, or use shoal-agent hold there")


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # of a socket for both, which is loopback no more in its long form
    return (mapped or address).is_loopback


async def _read(request: Request, file: HoldFile) -> Hold:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            raise RequestError(f"PUT {_PATH}: more than {_MAX_BODY_BYTES} bytes sent")
    remedy = 'send JSON such as {"reason": "stocktaking", "for_s": 7200}'
    try:
        asked = _Asked.model_validate(json.loads(body or b"{}"))
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(f"PUT {_PATH}: {'.'.join(map(str, first['loc']))}: {first['msg']}", remedy=remedy) from error
    except ValueError as error:
        raise RequestError(f"PUT {_PATH}: the body is not JSON", remedy=remedy) from error
    return file.hold_for(asked.reason, timedelta(seconds=asked.for_s) if asked.for_s else None)


def _shown(hold: Hold | None) -> dict[str, Any]:
    until = hold.until.isoformat() if hold and hold.until else None
    return {"is_held": hold is not None, "reason": hold.reason if hold else "", "until": until}
