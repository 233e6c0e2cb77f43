"""Pins: what the API says of them, and its routes as methods."""

from collections.abc import Sequence
from datetime import datetime

from shoal_client.fleet import Value
from shoal_client.transport import Transport


class Pin(Value):
    """A device that stays on one version of a model."""

    device_id: str
    model: str
    version: int
    target: str
    pinned_at: datetime
    until: datetime | None


class Pins:
    """Devices that stay on a version, whatever rollouts want."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, model: str = "") -> Sequence[Pin]:
        """List pins by model and device."""
        return self._transport.call("GET", "/pins", list[Pin], params={"model": model})

    def pin(self, device_id: str, model: str, version: str, *, until: datetime | None = None) -> Pin:
        """Have a device stay on a version: number, `latest`, stage or alias; with a zone, `until` ends it."""
        body = {"version": version, "until": until.isoformat() if until else None}
        return self._transport.call("PUT", f"/devices/{device_id}/pins/{model}", Pin, json=body)

    def unpin(self, device_id: str, model: str) -> Pin:
        """Let a device go, and return what it was pinned to."""
        return self._transport.call("DELETE", f"/devices/{device_id}/pins/{model}", Pin)
