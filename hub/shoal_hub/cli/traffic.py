"""`shoal devices ledger` and `limit`: what devices have taken of their uplinks, and what they may take."""

from collections.abc import Sequence
from typing import Annotated

import typer

from shoal_client.client import ShoalClient
from shoal_client.traffic import DeviceMonth, Limit, Scope
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, console, facts, show, size_text, table

_CATEGORIES = (
    "artifacts_broker",
    "artifacts_cache",
    "artifacts_https",
    "telemetry",
    "federated",
    "captures",
    "batches",
    "control",
)
Month = Annotated[str | None, typer.Option(help="YYYY-MM, in UTC; this month if it is left out.")]
PerSecond = Annotated[
    int | None, typer.Option(min=1, help="Most bytes a second that artifacts may take of the uplink, on average.")
]
PerMonth = Annotated[
    int | None, typer.Option(min=1, help="Most bytes that the uplink may carry in a month of UTC, both directions.")
]


def ledger(
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="Id or name; all if left out.")] = None,
    month: Month = None,
    group: Annotated[str | None, typer.Option(help="Only devices of this group.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what devices have received and sent in a month, by category, with their budgets.

    Devices count their messages exactly and estimate what MQTT, TLS, TCP and IP add; they tell now and then.
    """
    if csv and (device or as_json):
        raise typer.BadParameter("--csv is of all devices or of a group, and of its own form", param_hint="--csv")
    with connect() as client:
        if csv:
            typer.echo(client.traffic.csv(month=month, group=group), nl=False)
            return
        only = find_device(client, device).id if device else None
        months = client.traffic.months(month=month, device=only, group=group)
    show(months, as_json=as_json, draw=lambda: _draw(months))


def limit(
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="Id or name of the device.")] = None,
    group: Annotated[str | None, typer.Option(help="Limit each device of this static group instead.")] = None,
    fleet: Annotated[bool, typer.Option("--fleet", help="Limit every device instead.")] = False,
    bytes_per_s: PerSecond = None,
    bytes_per_month: PerMonth = None,
    as_json: AsJson = False,
) -> None:
    """Set what a device, each of a group or every device may take; what is not given bounds nothing.

    The device's own limits come before its groups', and those before the fleet's, value by value; of several groups
    the tightest value counts. A group has to be a static one.
    """
    if sum((device is not None, group is not None, fleet)) != 1:
        raise typer.BadParameter("name a device, or give --group or --fleet", param_hint="DEVICE")
    with connect() as client:
        scope, name = _scope(client, device, group)
        found = client.traffic.limit(
            scope, name, max_fetch_bytes_per_s=bytes_per_s, max_bytes_per_month=bytes_per_month
        )
    show(found, as_json=as_json, draw=lambda: facts(_said(found)))


def limits(as_json: AsJson = False) -> None:
    """List the limits that are set for the fleet, groups and devices."""
    with connect() as client:
        found = client.traffic.limits()
    rows = [(one.scope, one.name, one.max_fetch_bytes_per_s, one.max_bytes_per_month, one.set_by) for one in found]
    columns = ("SCOPE", "NAME", "BYTES/S", "BYTES/MONTH", "BY")
    show(found, as_json=as_json, draw=lambda: table(columns, rows, empty="No limit: shoal devices limit"))


def _scope(client: ShoalClient, device: str | None, group: str | None) -> tuple[Scope, str]:
    if device is not None:
        return "devices", find_device(client, device).id
    return ("groups", group) if group is not None else ("fleet", "")


def _draw(months: Sequence[DeviceMonth]) -> None:
    rows = [
        (
            one.name or one.device_id,
            one.month,
            *(_both(one, category) for category in _CATEGORIES),
            size_text(one.uplink_bytes),
            size_text(one.max_bytes_per_month) if one.max_bytes_per_month else None,
        )
        for one in months
    ]
    columns = ("DEVICE", "MONTH", "BROKER", "CACHE", "HTTPS", "TELEMETRY", "FEDERATED", "CONTROL", "UPLINK", "BUDGET")
    table(columns, rows, empty="No device has told of this month yet.")
    if len(rows) > 1:
        console.print(f"{size_text(sum(one.uplink_bytes for one in months))} over the uplinks of {len(rows)} devices")


def _both(month: DeviceMonth, category: str) -> str | None:
    traffic = month.categories.get(category)
    return size_text(traffic.received_bytes + traffic.sent_bytes) if traffic else None


def _said(limit: Limit) -> list[tuple[str, object]]:
    return [
        ("limits of", limit.name or "the fleet"),
        ("bytes a second", limit.max_fetch_bytes_per_s),
        ("bytes a month", limit.max_bytes_per_month),
    ]
