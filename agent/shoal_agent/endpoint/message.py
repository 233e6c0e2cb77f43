"""A request as it came, whole, and what is answered to it."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, TypeAlias
from urllib.parse import parse_qs

from pydantic_core import to_json

from shoal_agent.errors import AgentError
from shoal_contract.telemetry import Misfit

BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404
METHOD_NOT_ALLOWED: Final = 405
REQUEST_TIMEOUT: Final = 408
TOO_LARGE: Final = 413
MISDIRECTED: Final = 421
UNPROCESSABLE: Final = 422
TOO_MANY: Final = 429
HEAD_TOO_LARGE: Final = 431
INTERNAL: Final = 500
UNAVAILABLE: Final = 503
Piece: TypeAlias = bytes | bytearray | memoryview
JSON: Final = "application/json"
_BODILESS: Final = frozenset({204, 304})


class Request:
    """One request.

    Attributes:
        method: Upper case.
        path: Decoded as latin-1, not unquoted; without the query.
        params: What the route's pattern named, unquoted.
        headers: By name in lower case; of a name that comes twice, the values joined by a comma.
        body: Its bytes; whoever handles it may keep it.
        peer: The address that asks; None on a Unix-domain socket, which only this device reaches.
    """

    __slots__ = ("body", "headers", "method", "params", "path", "peer", "query_string")

    def __init__(
        self,
        method: str,
        path: str,
        headers: Mapping[bytes, bytes],
        body: Piece = b"",
        *,
        query_string: str = "",
        params: Mapping[str, str] | None = None,
        peer: str | None = "",
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.query_string = query_string
        self.params = params or {}
        self.peer = peer

    def header(self, name: bytes) -> str:
        """Return a header's value, empty where there is none; `name` in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    def query(self, name: str) -> str:
        """Return the first value of a field of the query, empty where there is none."""
        return parse_qs(self.query_string).get(name, [""])[0] if self.query_string else ""


class Response:
    """What is answered.

    Args:
        parts: The body, sent one after the other.
        status: The HTTP status.
        content_type: Of the body.
        headers: Further ones; names and values of latin-1 without line ends.
        stream: Pieces that are sent as they come, after `parts`, no faster than they are read; the connection closes
            after the last. A stop of the listener ends it between two pieces.
        on_end: Called once nothing more of the stream is sent, also where none of it ever was.
        is_last: Whether the connection closes after the answer.
    """

    __slots__ = ("content_type", "headers", "is_last", "on_end", "parts", "status", "stream")

    def __init__(
        self,
        parts: Sequence[Piece] = (),
        status: int = 200,
        content_type: str = JSON,
        headers: Sequence[tuple[str, str]] = (),
        *,
        stream: AsyncGenerator[bytes, None] | None = None,
        on_end: Callable[[], None] | None = None,
        is_last: bool = False,
    ) -> None:
        self.parts = parts
        self.status = status
        self.content_type = content_type
        self.headers = headers
        self.stream = stream
        self.on_end = on_end
        self.is_last = is_last

    def pieces(self, *, is_last: bool, is_head: bool) -> list[Piece]:
        """Return the bytes to send, head first.

        Args:
            is_last: Whether the connection closes after it.
            is_head: Whether the request was a HEAD, which is answered without the body.
        """
        lines = [_STATUS_LINES.get(self.status) or _status_line(self.status)]
        if self.status not in _BODILESS:
            lines.append(f"content-type: {self.content_type}\r\n")
            if self.stream is None:
                lines.append(f"content-length: {sum(map(_size, self.parts))}\r\n")
        lines += [f"{name}: {value}\r\n" for name, value in self.headers]
        lines.append("connection: close\r\n\r\n" if is_last else "\r\n")
        head = "".join(lines).encode("latin-1")
        return [head] if is_head else [head, *self.parts]


class RequestError(AgentError):
    """A request cannot be answered.

    Args:
        message: What was found and what was expected.
        status: The HTTP status that says whose fault it is.
        remedy: What the client should do next.
        retry_after_s: When to try again, in whole seconds; 0: that is not the remedy.
        headers: What the status asks to be said beside it.
        misfit: By what the request did not fit the model's schema; None: that was not it.
    """

    code = "request"
    default_remedy = "correct the request; GET the model's metadata for its inputs"

    def __init__(
        self,
        message: str,
        status: int = BAD_REQUEST,
        remedy: str | None = None,
        *,
        retry_after_s: int = 0,
        headers: Sequence[tuple[str, str]] = (),
        misfit: Misfit | None = None,
    ) -> None:
        super().__init__(message, remedy)
        self.status = status
        self.misfit = misfit
        self.headers = headers
        self.retry_after_s = retry_after_s or (1 if status in {TOO_MANY, UNAVAILABLE} else 0)


def refuse(error: AgentError, *, is_last: bool = False) -> Response:
    """Answer with an error, `{"error": ...}` as the Open Inference Protocol has it."""
    status, headers = INTERNAL, list[tuple[str, str]]()
    if isinstance(error, RequestError):
        status, headers = error.status, list(error.headers)
        if error.retry_after_s:
            headers.append(("retry-after", str(error.retry_after_s)))
    return json_response({"error": f"{error}; {error.remedy}"}, status, headers, is_last=is_last)


def json_response(
    body: object, status: int = 200, headers: Sequence[tuple[str, str]] = (), *, is_last: bool = False
) -> Response:
    """Answer with compact JSON."""
    return Response((to_json(body),), status, headers=headers, is_last=is_last)


def _size(part: Piece) -> int:
    return len(part) if isinstance(part, bytes) else memoryview(part).nbytes


def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"


_STATUS_LINES: Final = {status: _status_line(status) for status in (200, BAD_REQUEST, NOT_FOUND, TOO_MANY, UNAVAILABLE)}
