"""What programs on this device may ask of the agent besides inference: to hold what serves, and to release it.

`GET`, `PUT` and `DELETE /shoal/v1/hold`, on the loopback endpoint alone; `local_caller` says who may.
"""

from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from shoal_agent.endpoint import Request, Response, Route, json_response
from shoal_agent.hold import MAX_HOLD_S, MAX_REASON_CHARS, Hold, HoldFile
from shoal_agent.local_caller import check_local, read_json

_PATH: Final = "/shoal/v1/hold"
_MAX_BODY_BYTES: Final = 4096
_EXAMPLE: Final = '{"reason": "stocktaking", "for_s": 7200}'


class _Asked(BaseModel):
    """The body of a PUT."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=MAX_REASON_CHARS)
    for_s: float | None = Field(default=None, gt=0, le=MAX_HOLD_S)


def hold_routes(file: HoldFile) -> list[Route]:
    """Return the routes by which programs on this device hold and release what serves, which is kept in `file`."""

    def answer(request: Request) -> Response:
        check_local(request)
        if request.method == "PUT":
            asked = read_json(request, _Asked, _EXAMPLE)
            file.put(file.hold_for(asked.reason, timedelta(seconds=asked.for_s) if asked.for_s else None))
        elif request.method == "DELETE":
            file.release()
        return json_response(_shown(file.read()))

    return [Route(_PATH, dict.fromkeys(("GET", "PUT", "DELETE"), answer), _MAX_BODY_BYTES)]


def _shown(hold: Hold | None) -> dict[str, Any]:
    until = hold.until.isoformat() if hold and hold.until else None
    return {"is_held": hold is not None, "reason": hold.reason if hold else "", "until": until}
