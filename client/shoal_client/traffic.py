"""Traffic: the byte ledger and the limits of devices; what the API says of them, and its routes as methods."""

from datetime import datetime
from typing import Any, Literal

from shoal_client.fleet import Value
from shoal_client.transport import Transport

Scope = Literal["fleet", "groups", "devices"]


class Traffic(Value):
    """Bytes in both directions, as the device sees them."""

    received_bytes: int
    sent_bytes: int


class DeviceMonth(Value):
    """What one device has received and sent in one month of UTC, by category, as it counts itself.

    `uplink_bytes` is what counts for a budget: both directions of all but what stays on the LAN (`artifacts_cache`).
    """

    device_id: str
    name: str
    group: str
    month: str
    categories: dict[str, Traffic]
    uplink_bytes: int
    max_bytes_per_month: int | None
    told_at: datetime


class Limit(Value):
    """What the fleet, a group or a device may take; None bounds nothing, or leaves it to the wider scope."""

    scope: Scope
    name: str
    max_fetch_bytes_per_s: int | None
    max_bytes_per_month: int | None
    set_by: str
    set_at: datetime


class TrafficLedger:
    """The byte ledger, and limits. Of a device's limits, its group's and the fleet's the narrowest counts."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def months(
        self, *, month: str | None = None, device: str | None = None, group: str | None = None
    ) -> list[DeviceMonth]:
        """Return what devices have received and sent in a month, `YYYY-MM`; this one where none is given.

        Args:
            month: The month, in UTC.
            device: Id of the only device.
            group: Name of the only group.
        """
        given = _given(month=month, device=device, group=group)
        found: list[DeviceMonth] = []
        while True:
            page = self._transport.call("GET", "/ledger", list[DeviceMonth], params=given | {"offset": len(found)})
            found += page
            if not page:
                return found

    def csv(self, *, month: str | None = None, group: str | None = None) -> str:
        """Return a month's ledger as CSV."""
        answer = self._transport.fetch("GET", "/ledger/export", params=_given(month=month, group=group))
        return answer.decode()

    def limits(self) -> list[Limit]:
        """List all limits that are set."""
        return self._transport.call("GET", "/limits", list[Limit])

    def limit(
        self,
        scope: Scope,
        name: str = "",
        *,
        max_fetch_bytes_per_s: int | None = None,
        max_bytes_per_month: int | None = None,
    ) -> Limit:
        """Set the limits of a scope, both at once; what is None bounds nothing, or leaves it to the wider scope.

        Args:
            scope: Whose.
            name: The group's name or the device's id; nothing for the fleet.
            max_fetch_bytes_per_s: Most that artifacts may take of the uplink in a second.
            max_bytes_per_month: Most that the uplink may carry in a month of UTC, both directions.
        """
        body: dict[str, Any] = {
            "max_fetch_bytes_per_s": max_fetch_bytes_per_s,
            "max_bytes_per_month": max_bytes_per_month,
        }
        return self._transport.call("PUT", f"/limits/{scope}{'/' if name else ''}{name}", Limit, json=body)


def _given(**params: str | None) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
