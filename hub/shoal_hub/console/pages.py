"""Renders the console's templates, with the headers that keep a page to itself."""

from datetime import UTC, datetime
from typing import Any, Final

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from shoal_hub.console.curves import CURVE_HEIGHT, CURVE_WIDTH
from shoal_hub.console.drift_pictures import HEIGHT, PICTURE_WIDTH, curve_of, outlines_of
from shoal_hub.console.interval import WIDTH, interval_of
from shoal_hub.console.trend import TREND_HEIGHT, TREND_WIDTH
from shoal_hub.traffic.ledger import DeviceMonth

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
_SIZES: Final = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))
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


def size(size_bytes: int) -> str:
    """Return a size in the largest unit that fits, of powers of ten."""
    unit_bytes, unit = next((each, unit) for each, unit in _SIZES if size_bytes >= each or each == 1)
    return f"{size_bytes / unit_bytes:.1f} {unit}" if unit_bytes > 1 else f"{size_bytes} B"


def at_ms(milliseconds: int | None) -> str:
    """Return a time, milliseconds since 1970, for people; a dash for none, or for one beyond the calendar.

    A client that tells nanoseconds says such a time.
    """
    try:
        return "-" if milliseconds is None else f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "-"


def number(value: float | None) -> str:
    """Return a number in four digits, a dash for none."""
    return f"{value:.4g}" if value is not None else "-"


def size_of(month: DeviceMonth, category: str) -> str:
    """Return what a device has received and sent of a category, both together."""
    traffic = month.categories.get(category)
    return size(traffic.total_bytes) if traffic else "-"


_environment = Environment(
    loader=PackageLoader("shoal_hub.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_environment.filters |= {
    "ago": ago,
    "size": size,
    "size_of": size_of,
    "number": number,
    "at_ms": at_ms,
    "interval": interval_of,
}
_environment.filters |= {"at_ms": at_ms, "curve": curve_of, "outlines": outlines_of}
_environment.globals |= {"interval_width": WIDTH, "picture_width": PICTURE_WIDTH, "picture_height": HEIGHT}
_environment.globals |= {"curve_width": CURVE_WIDTH, "curve_height": CURVE_HEIGHT}
_environment.globals |= {"trend_width": TREND_WIDTH, "trend_height": TREND_HEIGHT}
