"""How the routes of MLflow's API fail: `{"error_code", "message"}` with the codes that its client knows.

Source: ErrorCode of MLflow's `databricks.proto`, and the statuses that its own server answers them with.
"""

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from sqlalchemy.exc import DataError, OperationalError
from starlette.exceptions import HTTPException as AnyHTTPException

from shoal_hub.errors import (
    ConflictError,
    ExistsError,
    HubError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    TooLargeError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)
from shoal_hub.registry.incoming import StorageFullError

log = logging.getLogger(__name__)

_CODES: Final[tuple[tuple[type[HubError], int, str], ...]] = (
    (InvalidInputError, 400, "INVALID_PARAMETER_VALUE"),
    (UnauthenticatedError, 401, "UNAUTHENTICATED"),
    (RefusedError, 403, "PERMISSION_DENIED"),
    (NotFoundError, 404, "RESOURCE_DOES_NOT_EXIST"),
    (ExistsError, 400, "RESOURCE_ALREADY_EXISTS"),
    (ConflictError, 409, "RESOURCE_CONFLICT"),
    (TooLargeError, 413, "RESOURCE_LIMIT_EXCEEDED"),
    (TooManyRequestsError, 429, "REQUEST_LIMIT_EXCEEDED"),
    (UnavailableError, 503, "TEMPORARILY_UNAVAILABLE"),
    (StorageFullError, 507, "RESOURCE_LIMIT_EXCEEDED"),
)
_INTERNAL: Final = "INTERNAL_ERROR"
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class EndpointError(HubError):
    """The hub has no such call of MLflow's API."""


class MlflowRoute(APIRoute):
    """A route whose failures have MLflow's form, whatever raised them."""

    def get_route_handler(self) -> Handler:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def answer_or_tell(request: Request) -> Response:
            try:
                return await answer(request)
            except (HubError, RequestValidationError, AnyHTTPException, DataError, OperationalError) as error:
                return failure(request, error)

        return answer_or_tell


def failure(request: Request, error: Exception) -> JSONResponse:
    """Return the answer that tells an error; what is the hub's own fault is logged too."""
    status, code, message = _told(error)
    if status >= 500:  # noqa: PLR2004 - HTTP's own border
        log.error("%s %s: %s", request.method, request.url.path, error)
    headers = {}
    if isinstance(error, UnauthenticatedError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, TooManyRequestsError):
        headers["retry-after"] = error.retry_after
    if isinstance(error, TooLargeError | StorageFullError) or request.method == "PUT":
        headers["connection"] = "close"  # what was sent may be unread: this connection carries no other request
    message = message.encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error_code": code, "message": message}, status, headers)


def _told(error: Exception) -> tuple[int, str, str]:
    if isinstance(error, EndpointError):
        return 404, "ENDPOINT_NOT_FOUND", str(error)
    if isinstance(error, HubError):
        known = next((one for one in _CODES if isinstance(error, one[0])), (HubError, 500, _INTERNAL))
        return known[1], known[2], str(error)
    if isinstance(error, RequestValidationError):
        problems = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()[:5]]
        return 400, "INVALID_PARAMETER_VALUE", "; ".join(problems)
    if isinstance(error, HTTPException | AnyHTTPException):
        code = "RESOURCE_LIMIT_EXCEEDED" if error.status_code == TooLargeError.status else "BAD_REQUEST"
        return error.status_code, code, str(error.detail)
    if isinstance(error, DataError):
        return 400, "INVALID_PARAMETER_VALUE", "a value is one that the database cannot keep; remove NUL characters"
    return 503, "TEMPORARILY_UNAVAILABLE", "the database did not answer in time; try again in a moment"
