"""A span for each request to the API, which follows from the caller's if that tells one (W3C Trace Context)."""

from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shoal_contract.trace_context import TRACEPARENT, TraceContext
from shoal_hub.tracing.spans import Span, is_tracing, span

_SILENT: Final = frozenset({"/metrics", "/api/v1/health"})
"""Asked every few seconds by programs that look whether the hub lives."""
_FAILED: Final = 500
_HEADER: Final = TRACEPARENT.encode()


class TracedRequests:
    """ASGI middleware.

    Args:
        app: What answers.
        templates: The path's template of each function that answers.
    """

    def __init__(self, app: ASGIApp, templates: Mapping[object, str]) -> None:
        self._app = app
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or not is_tracing() or scope["path"] in _SILENT:
            await self._app(scope, receive, send)
            return
        told = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        parent = TraceContext.parse(told.decode("latin-1"))
        with span(scope["method"], parent, "server", {"http.request.method": scope["method"]}) as begun:
            status = _FAILED

            async def noting(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await self._app(scope, receive, noting)
            finally:
                if begun is not None:
                    self._describe(begun, scope, status)

    def _describe(self, begun: Span, scope: Scope, status: int) -> None:
        """Name the span by the route, which is known once it has answered; never by what a caller has typed."""
        route = self._templates.get(scope.get("endpoint"))
        attributes: dict[str, str | int | float | bool] = {"http.response.status_code": status}
        if route is not None:
            begun.rename(f"{scope['method']} {route}")
            attributes["http.route"] = route
        if status >= _FAILED:
            attributes["error.type"] = str(status)
        begun.note(attributes)
