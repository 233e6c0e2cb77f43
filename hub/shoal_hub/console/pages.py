"""Renders the console's templates, with the headers that keep a page to itself."""

from datetime import UTC, datetime
from typing import Any, Final

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

_POLICY: Final = (
    "default-src 'none'; script-src 'self'{also}; style-src 'self'{also}; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "cache-control": "no-store",
    # With no-referrer, browsers send forms of our own pages with the origin "null".
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def render(template: str, status: int = 200, *, also: str = "", **values: Any) -> HTMLResponse:  # noqa: ANN401 - what the template shows
    """Return a page or a part of one, which runs scripts of this site alone, or `also` of the folder at that URL."""
    content = _environment.get_template(template).render(now=datetime.now(UTC), **values)
    policy = _POLICY.format(also=f" {also}" if also else "")
    return HTMLResponse(content, status, headers={**_HEADERS, "content-security-policy": policy})


def log_in_again() -> HTMLResponse:
    """Return the answer that has the page go to the login."""
    response = HTMLResponse("", 401)
    response.headers["hx-redirect"] = "/login"
    return response


def ago(at: datetime, now: datetime) -> str:
    """Return how long ago a time is, in the largest unit that fits."""
    seconds = max(0.0, (now - at).total_seconds())
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size or size == 1)
    return f"{int(seconds // size)} {unit} ago"


_environment = Environment(
    loader=PackageLoader("shoal_hub.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_environment.filters["ago"] = ago
