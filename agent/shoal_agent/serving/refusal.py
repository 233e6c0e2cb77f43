"""How a request is refused: an error with an HTTP status, and the `{"error": ...}` body of the protocol."""

import json
from typing import Final

from starlette.responses import Response

from shoal_agent.errors import AgentError

BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404
REQUEST_TIMEOUT: Final = 408
TOO_LARGE: Final = 413
UNPROCESSABLE: Final = 422
INTERNAL: Final = 500
UNAVAILABLE: Final = 503


class RequestError(AgentError):
    """A request cannot be answered.

    Args:
        message: What was found and what was expected.
        status: The HTTP status that says whose fault it is.
        remedy: What the client should do next.
    """

    code = "request"
    default_remedy = "correct the request; GET the model's metadata for its inputs"

    def __init__(self, message: str, status: int = BAD_REQUEST, remedy: str | None = None) -> None:
        super().__init__(message, remedy)
        self.status = status


def refuse(error: AgentError) -> Response:
    """Answer with an error.

    The connection stays open even where the request was not read to its end: uvicorn throws the rest away as it
    comes, while a close with unread bytes resets the connection before the client has read why. Only a client
    that stopped sending is cut off.
    """
    status = error.status if isinstance(error, RequestError) else INTERNAL
    headers = {}
    if status == UNAVAILABLE:
        headers["Retry-After"] = "1"
    if status == REQUEST_TIMEOUT:
        headers["Connection"] = "close"
    return json_response({"error": f"{error}; {error.remedy}"}, status, headers)


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with compact JSON."""
    content = json.dumps(body, separators=(",", ":")).encode()
    return Response(content, status, headers, media_type="application/json")
