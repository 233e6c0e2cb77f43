"""Which handler answers which method and path."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

from shoal_agent.endpoint.message import METHOD_NOT_ALLOWED, NOT_FOUND, Request, RequestError, Response

Handler = Callable[[Request], Response | Awaitable[Response]]
"""Answers a request at once, or in a task of its own. A `RequestError` that it raises is answered as such."""
_MOST_REMEMBERED: Final = 512


class Route(NamedTuple):
    """A path and what answers it.

    Attributes:
        pattern: The path; `{name}` stands for one segment, which the handler finds in `Request.params`.
        handlers: By method, upper case. A HEAD is answered by GET.
        max_body_bytes: The largest body; 0: as the listener's limits say.
    """

    pattern: str
    handlers: Mapping[str, Handler]
    max_body_bytes: int = 0


class Found(NamedTuple):
    """The handler of a request, with what its path says."""

    handler: Handler
    params: Mapping[str, str]
    max_body_bytes: int


class Router:
    """Looks routes up, by the whole path where they were looked up before."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(_compile(route.pattern), route) for route in routes]
        self._found: dict[tuple[str, str], Found] = {}

    def find(self, method: str, path: str) -> Found:
        """Return the handler of a request.

        Raises:
            RequestError: There is none: 404, or 405 where the path is there for other methods.
        """
        found = self._found.get((method, path))
        if found is not None:
            return found
        found = self._search(method, path)
        if len(self._found) >= _MOST_REMEMBERED:  # paths are the clients' own
            self._found.clear()
        self._found[method, path] = found
        return found

    def _search(self, method: str, path: str) -> Found:
        others: set[str] = set()
        for pattern, route in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            handler = route.handlers.get("GET" if method == "HEAD" else method)
            if handler is not None:
                params = {name: unquote(value) for name, value in match.groupdict().items()}
                return Found(handler, params, route.max_body_bytes)
            others |= route.handlers.keys()
        doing = f"{method[:20]} {path[:80]}"
        if others:
            message = f"{doing}: method not allowed, expected {' or '.join(sorted(others))}"
            allowed = ", ".join(sorted(others | ({"HEAD"} if "GET" in others else set())))
            remedy = "see the Open Inference Protocol v2"
            raise RequestError(message, METHOD_NOT_ALLOWED, remedy, headers=(("allow", allowed),))
        message = f"{doing}: no such path"
        raise RequestError(message, NOT_FOUND, "see the Open Inference Protocol v2; its paths begin with /v2")


def _compile(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    return re.compile("".join(f"(?P<{part}>[^/]+)" if n % 2 else re.escape(part) for n, part in enumerate(parts)))
