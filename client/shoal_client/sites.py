"""Sites: what the API says of them, and its routes as methods."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shoal_client.fleet import Value
from shoal_client.transport import Transport

DEFAULT_PORT = 8471
HANDOVER_PORT = 8472


class HandoverPeer(Value):
    """Who takes requests: a device of the site, or a server with just this certificate."""

    host: str
    port: int
    device: str | None = None
    certificate_sha256: str | None = None


class Handover(Value):
    """Whom a site's devices pass requests to that would wait for longer than `patience_ms`."""

    peers: list[HandoverPeer]
    patience_ms: int = 50


class Site(Value):
    """Devices on one LAN: `cache` serves artifacts to `members`, who reach it at `host` and `port`.

    `has_cache` is false once the cache was revoked; name another one with `Sites.replace`.
    """

    name: str
    cache: str
    host: str
    port: int
    members: list[str]
    has_cache: bool
    handover: Handover | None = None
    created_by: str
    created_at: datetime


class Sites:
    """Sites of the fleet. A device is on none unless it is put there, and on one at most."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[Site]:
        """List sites by name."""
        return self._transport.call("GET", "/sites", list[Site])

    def show(self, name: str) -> Site:
        """Return one site."""
        return self._transport.call("GET", f"/sites/{name}", Site)

    def create(
        self, name: str, *, cache: str, host: str, port: int = DEFAULT_PORT, members: Sequence[str] = ()
    ) -> Site:
        """Make a site; the cache's agent listens only where its own settings allow it, too."""
        return self._transport.call("POST", "/sites", Site, json={"name": name} | _body(cache, host, port, members))

    def replace(self, name: str, *, cache: str, host: str, port: int, members: Sequence[str]) -> Site:
        """Give a site another cache, address and other members: all of it at once."""
        return self._transport.call("PUT", f"/sites/{name}", Site, json=_body(cache, host, port, members))

    def hand_over(self, name: str, handover: Handover) -> Site:
        """Have a site's devices pass requests on; an agent takes them only where its own settings allow it, too."""
        body = handover.model_dump(mode="json")
        return self._transport.call("PUT", f"/sites/{name}/handover", Site, json=body)

    def end_handover(self, name: str) -> Site:
        """Have each device of a site answer its own requests."""
        return self._transport.call("DELETE", f"/sites/{name}/handover", Site)

    def delete(self, name: str) -> Site:
        """End a site; its devices stay, and fetch from the broker alone."""
        return self._transport.call("DELETE", f"/sites/{name}", Site)


def _body(cache: str, host: str, port: int, members: Sequence[str]) -> dict[str, Any]:
    return {"cache": cache, "host": host, "port": port, "members": [*members]}
