"""What programs on this device may ask of the agent besides inference: to hold what serves, and to release it.

`GET`, `PUT` and `DELETE /shoal/v1/hold`, on the loopback endpoint alone; `local_caller` says who may.
"""

from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shoal_agent.errors import DiskError
from shoal_agent.hold import MAX_HOLD_S, MAX_REASON_CHARS, Hold, HoldFile
from shoal_agent.local_caller import check_local, read_json
from shoal_agent.serving.refusal import RequestError, json_response, refuse
from shoal_agent.serving.settings import ServingSettings

_PATH: Final = "/shoal/v1/hold"
_MAX_BODY_BYTES: Final = 4096
_EXAMPLE: Final = '{"reason": "stocktaking", "for_s": 7200}'


class _Asked(BaseModel):
    """The body of a PUT."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=MAX_REASON_CHARS)
    for_s: float | None = Field(default=None, gt=0, le=MAX_HOLD_S)


def hold_routes(file: HoldFile, body_timeout_s: float = ServingSettings.body_timeout_s) -> list[Route]:
    """Return the routes by which programs on this device hold and release what serves.

    Args:
        file: Where the hold is kept.
        body_timeout_s: Who has not sent a whole request by then gets 408.
    """

    async def answer(request: Request) -> Response:
        try:
            check_local(request, _PATH)
            if request.method == "PUT":
                asked = await read_json(request, _PATH, _Asked, _MAX_BODY_BYTES, _EXAMPLE, body_timeout_s)
                file.put(file.hold_for(asked.reason, timedelta(seconds=asked.for_s) if asked.for_s else None))
            elif request.method == "DELETE":
                file.release()
        except (RequestError, DiskError) as error:
            return refuse(error)
        return json_response(_shown(file.read()))

    return [Route(_PATH, answer, methods=["GET", "PUT", "DELETE"])]


def _shown(hold: Hold | None) -> dict[str, Any]:
    until = hold.until.isoformat() if hold and hold.until else None
    return {"is_held": hold is not None, "reason": hold.reason if hold else "", "until": until}
