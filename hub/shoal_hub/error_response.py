"""The one form of an error answer: `{"error": {"code", "message", "remedy"}}`, and who turns what into it."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DataError, OperationalError
from starlette.exceptions import HTTPException

from shoal_hub.errors import HubError, TooManyRequestsError

log = logging.getLogger(__name__)


class ErrorBody(BaseModel):
    """What went wrong, and what the reader can do."""

    code: str
    message: str
    remedy: str


class ErrorAnswer(BaseModel):
    """The body of every answer of 400 and above."""

    error: ErrorBody


_MEANINGS: Final = {
    400: "The body cannot be read at all",
    401: "No operator token, or one that the hub does not take",
    403: "Refused: the caller's role or the token's scopes do not cover this",
    404: "No such thing",
    409: "Contradicts what is there",
    413: "Body too large",
    416: "No such range of bytes",
    422: "Malformed or unacceptable input",
    429: "Too many requests",
    503: "Something that the hub needs for this does not answer",
}
_BY_STATUS: Final = {
    400: ("malformed", "send the body that the API's description at /api/docs asks for"),
    404: ("not_found", "look at /api/docs for the routes that exist"),
    405: ("method_not_allowed", "look at /api/docs for the methods of this route"),
    416: ("no_such_range", "ask for bytes within the size that the header Content-Range tells"),
    413: ("too_large", "send less, or raise SHOAL_MAX_BODY_BYTES or SHOAL_MAX_UPLOAD_BYTES at the hub"),
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that answers with these error statuses, for OpenAPI."""
    # The content is named, as FastAPI takes a route's own media type (text, a file) for its errors' too.
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    answer = {"model": ErrorAnswer, "content": content}
    return {status: {**answer, "description": _MEANINGS[status]} for status in statuses}


def error_response(
    status: int, code: str, message: str, remedy: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error in the API's form; what a caller sent that UTF-8 cannot keep stands in it escaped."""
    message = message.encode("utf-8", "backslashreplace").decode()
    answer = ErrorAnswer(error=ErrorBody(code=code, message=message, remedy=remedy))
    return JSONResponse(answer.model_dump(), status, headers=dict(headers) if headers else None)


def refusal(error: HubError) -> JSONResponse:
    """Return the answer that tells an error of the hub."""
    headers = {}
    if error.status == 401:  # noqa: PLR2004
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, TooManyRequestsError):
        headers["retry-after"] = error.retry_after
    return error_response(error.status, error.code, error.message, error.remedy, headers)


def install_error_handlers(app: FastAPI) -> None:
    """Have every error of `app` answered in the API's form."""
    app.add_exception_handler(HubError, _on_hub_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(DataError, _on_unstorable)
    app.add_exception_handler(OperationalError, _on_database_busy)
    app.add_exception_handler(Exception, _on_unexpected)


def _on_hub_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HubError)  # noqa: S101 - the handler is registered for this class
    if error.status >= 500:  # noqa: PLR2004 - HTTP's own border
        log.error("%s %s: %s", request.method, request.url.path, error)
    return refusal(error)


def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    problems = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()[:5]]
    return error_response(422, "invalid", "; ".join(problems), "see /api/docs for what this route takes")


def _on_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    code, remedy = _BY_STATUS.get(error.status_code, ("http", "see /api/docs"))
    return error_response(error.status_code, code, str(error.detail), remedy, error.headers)


def _on_unstorable(_request: Request, _error: Exception) -> JSONResponse:
    return error_response(422, "invalid", "a value is one that the database cannot keep", "remove NUL characters")


def _on_database_busy(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s: database: %s", request.method, request.url.path, error)
    return error_response(503, "database_busy", "the database did not answer in time", "try again in a moment")


def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_response(500, "internal", "the hub failed while it answered", "see the hub's log, and report it")
