"""How the application tells the true label of what was predicted, once it knows it.

`POST /shoal/v1/labels` with the `id` of the answer, on the loopback endpoint alone (`local_caller`); `GET` says what
became of the labels that came. They are counted by the monitor and leave the device as two numbers of a window.
"""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from shoal_agent.endpoint import Request, RequestError, Response, Route, json_response
from shoal_agent.local_caller import check_local, read_json
from shoal_agent.monitor import Fate, LabelError, Monitor
from shoal_contract.limits import MAX_INTEGER

_PATH: Final = "/shoal/v1/labels"
_MAX_BODY_BYTES: Final = 64 * 1024
_MAX_LABELS: Final = 8192
_MAX_TEXT_CHARS: Final = 256
_EXAMPLE: Final = '{"model": "digits", "id": "5f1c2a90-17", "labels": [3]}'
_STATUS: Final[dict[Fate, int]] = {
    "unknown": 404,
    "late": 410,
    "repeated": 409,
    "ambiguous": 409,
    "wrong_version": 409,
    "misfit": 422,
}


class _Told(BaseModel):
    """The body of a POST."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(min_length=1, max_length=_MAX_TEXT_CHARS)
    id: str = Field(min_length=1, max_length=_MAX_TEXT_CHARS)
    labels: list[Annotated[int, Field(ge=0, le=MAX_INTEGER)]] = Field(min_length=1, max_length=_MAX_LABELS)
    version: Annotated[int, Field(ge=1, le=MAX_INTEGER)] | None = None


def label_routes(monitor: Monitor) -> list[Route]:
    """Return the routes by which programs on this device tell true labels, which `monitor` counts."""

    def answer(request: Request) -> Response:
        check_local(request)
        if request.method == "GET":
            return json_response(monitor.label_fates())
        told = read_json(request, _Told, _EXAMPLE)
        try:
            counted = monitor.label(told.model, told.id, told.labels, told.version)
        except LabelError as error:
            raise RequestError(str(error), _STATUS[error.fate], error.remedy) from error
        return json_response({"version": counted.version, "labelled": counted.labelled, "correct": counted.correct})

    return [Route(_PATH, dict.fromkeys(("GET", "POST"), answer), _MAX_BODY_BYTES)]
