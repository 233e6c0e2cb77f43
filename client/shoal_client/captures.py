"""Captured samples: what is asked of devices, what has come, and the API's routes as methods."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from shoal_client.fleet import Value
from shoal_client.transport import Transport

_PAGE = 1000


class CaptureRequest(Value):
    """Which samples of a model devices are asked for; `group` is None for all of the fleet."""

    model: str
    group: str | None
    reasons: list[str]
    max_samples_per_day: int
    max_bytes_per_day: int
    after_s: float
    set_by: str
    set_at: datetime


class Capture(Value):
    """A sample that has come, and what is known of it; its contents are fetched by themselves."""

    id: str
    device_id: str
    model: str
    version: int
    request_id: str
    sample: int
    at: datetime
    reasons: list[str]
    label: int | None
    confidence: float | None
    true_label: int | None
    sha256: str
    size_bytes: int
    received_at: datetime


class Captures:
    """Samples of real requests that devices have sent, as far as their owners let them out."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def wanted(self) -> list[CaptureRequest]:
        """List what is asked of devices, by model."""
        return self._transport.call("GET", "/capture-requests", list[CaptureRequest])

    def want(
        self,
        model: str,
        *,
        group: str | None = None,
        reasons: Sequence[str] = (),
        max_samples_per_day: int = 100,
        max_bytes_per_day: int = 10_000_000,
        after_s: float = 3600.0,
    ) -> CaptureRequest:
        """Ask devices for samples of a model that they keep.

        Args:
            model: Its name.
            group: Whose devices; None: all of the fleet.
            reasons: Samples that one of these has picked; none: all.
            max_samples_per_day: Of each device.
            max_bytes_per_day: Of each device.
            after_s: How old a sample is before it is sent: its true label has so long to come back.
        """
        body = {
            "group": group,
            "reasons": [*reasons],
            "max_samples_per_day": max_samples_per_day,
            "max_bytes_per_day": max_bytes_per_day,
            "after_s": after_s,
        }
        return self._transport.call("PUT", f"/capture-requests/{model}", CaptureRequest, json=body)

    def unwant(self, model: str) -> CaptureRequest:
        """Cease to ask for samples of a model; those that have come stay."""
        return self._transport.call("DELETE", f"/capture-requests/{model}", CaptureRequest)

    def list(
        self, *, model: str = "", version: int | None = None, device_id: str = "", limit: int = 100, offset: int = 0
    ) -> list[Capture]:
        """List samples that have come, the newest first."""
        params = _which(model, version, device_id) | {"limit": limit, "offset": offset}
        return self._transport.call("GET", "/captures", list[Capture], params=params)

    def all(self, *, model: str = "", version: int | None = None, device_id: str = "") -> Iterator[Capture]:
        """Yield every sample that has come, the newest first."""
        offset = 0
        while page := self.list(model=model, version=version, device_id=device_id, limit=_PAGE, offset=offset):
            yield from page
            offset += len(page)

    def show(self, capture_id: str) -> Capture:
        """Return what is known of one sample."""
        return self._transport.call("GET", f"/captures/{capture_id}", Capture)

    def fetch(self, capture_id: str) -> bytes:
        """Return a sample as `.npz`, an array for each input of its model; the hub audits it."""
        return self._transport.fetch("GET", f"/captures/{capture_id}/content")

    def delete(self, capture_id: str) -> Capture:
        """Delete a sample at the hub."""
        return self._transport.call("DELETE", f"/captures/{capture_id}", Capture)

    def delete_all(self, model: str, *, version: int | None = None, device_id: str = "") -> int:
        """Delete all samples of a model, of one version or device only where these are given; return how many."""
        count, params = 0, _which(model, version, device_id)
        while gone := self._transport.call("DELETE", "/captures", list[Capture], params=params):
            count += len(gone)
        return count


def _which(model: str, version: int | None, device_id: str) -> dict[str, Any]:
    given = {"model": model, "version": version, "device": device_id}
    return {name: value for name, value in given.items() if value}
