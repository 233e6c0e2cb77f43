"""How the routes of compression are driven once, see `drivers`."""

from collections.abc import Callable
from typing import Any

from tests.hub.audit.site import Site


def _begin(site: Site) -> Callable[[], Any]:
    body = {"model": "colours", "recipes": ["float16"]}
    return lambda: site.send("POST", "/compression/runs", json=body)


def _cancel(site: Site) -> Callable[[], Any]:
    run_id = _begin(site)()["id"]
    return lambda: site.send("POST", f"/compression/runs/{run_id}/cancel")


COMPRESSION: dict[tuple[str, str], tuple[Callable[[Site], Callable[[], Any]], str, str]] = {
    ("POST", "/api/v1/compression/runs"): (_begin, "compression.create_compression_run", "compression_runs/c-"),
    ("POST", "/api/v1/compression/runs/{run_id}/cancel"): (
        _cancel,
        "compression.cancel_compression_run",
        "compression/runs/c-",
    ),
}
