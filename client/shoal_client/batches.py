"""Batch jobs: what the API says of them, and its routes as methods."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shoal_client.fleet import Problem, Value
from shoal_client.transport import Transport

_PAGE = 1000


class Batch(Value):
    """A job; `body` is what is asked, `counts` how many devices are how far: open, done, failed, expired, cancelled."""

    name: str
    body: dict[str, Any]
    created_by: str
    created_at: datetime
    cancelled_at: datetime | None
    cancelled_by: str
    counts: dict[str, int]


class BatchDevice(Value):
    """How a job is on one device; `is_stored` says whether its answers have come, else they are on the device."""

    device_id: str
    name: str
    outcome: str
    state: str
    step: str
    version: int | None
    answered: int
    rejected: int
    duration_s: float
    result_bytes: int
    is_stored: bool
    problem: Problem | None
    ended_at: datetime | None


class BatchDetail(Batch):
    """A job with its devices by name."""

    devices: list[BatchDevice]


class Batches:
    """Jobs in which a model of a device answers files that are there already."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, limit: int = 100) -> list[Batch]:
        """List jobs, the newest first."""
        return self._transport.call("GET", "/batches", list[Batch], params={"limit": limit})

    def create(
        self, name: str, body: Mapping[str, Any], *, groups: Sequence[str] = (), devices: Sequence[str] = ()
    ) -> Batch:
        """Hand a job out.

        Args:
            name: Its name, which was never given before.
            body: `model`, `input`, `deadline_at`, and what of `version`, `form`, `keep`, `max_load`, `windows` and
                `max_result_bytes` is not to be the default.
            groups: Names of groups, whose present devices do it.
            devices: Ids of other devices.
        """
        whole = {"name": name, "body": dict(body), "groups": [*groups], "devices": [*devices]}
        return self._transport.call("POST", "/batches", Batch, json=whole)

    def show(self, name: str) -> BatchDetail:
        """Return a job with all of its devices."""
        found = self._page(name, 0)
        devices = [*found.devices]
        while len(devices) % _PAGE == 0 and (page := self._page(name, len(devices)).devices):
            devices += page
        return found.model_copy(update={"devices": devices})

    def fetch(self, name: str, device_id: str) -> bytes:
        """Return the answers of a device, in the job's form; the hub audits it."""
        return self._transport.fetch("GET", f"/batches/{name}/devices/{device_id}/answers")

    def cancel(self, name: str) -> Batch:
        """Take a job back; answers that devices have stay with them."""
        return self._transport.call("POST", f"/batches/{name}/cancel", Batch)

    def _page(self, name: str, offset: int) -> BatchDetail:
        params = {"limit": _PAGE, "offset": offset}
        return self._transport.call("GET", f"/batches/{name}", BatchDetail, params=params)
