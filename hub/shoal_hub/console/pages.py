"""Renders the console's templates, with the headers that keep a page to itself."""

from datetime import UTC, datetime
from typing import Any, Final

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    # With no-referrer, browsers send forms of our own pages with the origin "null".
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def render(template: str, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401 - what the template shows
    """Return a page or a part of one."""
    content = _environment.get_template(template).render(now=datetime.now(UTC), **values)
    return HTMLResponse(content, status, headers=dict(_HEADERS))


def ago(at: datetime, now: datetime) -> str:
    """Return how long ago a time is, in the largest unit that fits."""
    seconds = max(0.0, (now - at).total_seconds())
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size or size == 1)
    return f"{int(seconds // size)} {unit} ago"


_environment = Environment(
    loader=PackageLoader("shoal_hub.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_environment.filters["ago"] = ago
