"""`shoal devices`: list, show, rename, tag, move, configure, revoke, decommission; without a token: `enrolments`."""

from typing import Annotated

import typer

from shoal_client.fleet import Device, DeviceDetail, Fallback, Problem
from shoal_hub.cli import traffic
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, cell, console, facts, show, table

app = typer.Typer(help="Enrolled devices.", no_args_is_help=True)

app.command("ledger", epilog="Example: shoal devices ledger kitchen --month 2026-11")(traffic.ledger)
app.command("limit", epilog="Example: shoal devices limit kitchen --bytes-per-s 65536 --bytes-per-month 500000000")(
    traffic.limit
)
app.command("limits", epilog="Example: shoal devices limits")(traffic.limits)

Named = Annotated[str, typer.Argument(metavar="DEVICE", help="Id or name of the device.")]
Reason = Annotated[str, typer.Option(help="Why, for those who read the list later.")]


@app.command("list", epilog="Example: shoal devices list --query 'tags.site = paris and presence = online'")
def list_devices(
    group: Annotated[str | None, typer.Option(help="Only devices in this group; '' for those of no home.")] = None,
    query: Annotated[str | None, typer.Option(help="Only unrevoked devices that match this query.")] = None,
    decommissioned: Annotated[bool, typer.Option("--decommissioned", help="Also those gone for good.")] = False,
    as_json: AsJson = False,
) -> None:
    """List devices with what runs on them."""
    with connect() as client:
        devices = list(client.devices.all(group=group, query=query, decommissioned=decommissioned))
    rows = [
        (
            one.name,
            one.id,
            one.group,
            _presence(one),
            _models(one),
            _hardware(one),
            one.last_seen_at,
        )
        for one in devices
    ]
    columns = ("NAME", "ID", "GROUP", "PRESENCE", "MODELS", "HARDWARE", "SEEN")
    empty = "No device has enrolled yet. Make a token: shoal tokens create"
    if group is not None or query is not None:
        empty = "No device is in it."
    show(devices, as_json=as_json, draw=lambda: table(columns, rows, empty=empty))


@app.command("show", epilog="Example: shoal devices show kitchen")
def show_device(device: Named, as_json: AsJson = False) -> None:
    """Show one device: what it is, what it reports and what is wanted of it."""
    with connect() as client:
        found = client.devices.show(find_device(client, device).id)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal devices rename d-abcdefgh234567ab kitchen")
def rename(device: Named, name: Annotated[str, typer.Argument(help="The new name.")], as_json: AsJson = False) -> None:
    """Give a device another name; its id stays."""
    with connect() as client:
        found = client.devices.update(find_device(client, device).id, name=name)
    show(found, as_json=as_json, draw=lambda: console.print(f"{found.id} is now named {cell(found.name)}"))


@app.command(epilog="Example: shoal devices tag kitchen site=north camera=")
def tag(
    device: Named,
    tags: Annotated[list[str], typer.Argument(help="NAME=VALUE to set, NAME= to take away.")],
    as_json: AsJson = False,
) -> None:
    """Set or take away tags of a device."""
    changes = {name: value for name, _, value in (one.partition("=") for one in tags)}
    with connect() as client:
        known = find_device(client, device)
        kept = {name: value for name, value in (known.tags | changes).items() if value}
        found = client.devices.update(known.id, tags=kept)
    show(found, as_json=as_json, draw=lambda: facts([("tags", found.tags)]))


@app.command(epilog="Example: shoal devices move kitchen greenhouse")
def move(
    device: Named,
    group: Annotated[str, typer.Argument(help="The group; '' for none.")],
    as_json: AsJson = False,
) -> None:
    """Make a group the home of a device; a static group that is not there yet is made."""
    with connect() as client:
        found = client.devices.update(find_device(client, device).id, group=group)
    show(found, as_json=as_json, draw=lambda: facts([("group", found.group)]))


@app.command(epilog="Example: shoal devices configure kitchen --window-s 30")
def configure(
    device: Named,
    heartbeat_s: Annotated[float | None, typer.Option(help="Seconds between heartbeats.")] = None,
    window_requests: Annotated[float | None, typer.Option(help="Requests after which a window is sent.")] = None,
    window_s: Annotated[float | None, typer.Option(help="Seconds after which a window is sent.")] = None,
    drift_fall_back: Annotated[
        bool,
        typer.Option("--drift-fall-back", help="The version before answers while inputs have drifted, also offline."),
    ] = False,
    drift_fall_back_features: Annotated[int | None, typer.Option(help="Features that have to have drifted.")] = None,
    drift_fall_back_s: Annotated[float | None, typer.Option(help="Seconds for which it answers.")] = None,
    drift_tolerance: Annotated[
        float | None, typer.Option(help="Difference of a share of a feature's values that is no drift, 0.005 to 0.4.")
    ] = None,
    drift_warm_up: Annotated[
        int | None, typer.Option(help="Windows that are learned from before drift is told, 16 to 10,000.")
    ] = None,
    drift_recentred: Annotated[
        bool | None,
        typer.Option("--drift-recentred/--drift-by-reference", help="Tell drift from those windows, or the reference."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set how an agent behaves, through its desired state; what is not given goes back to its default."""
    given: dict[str, object] = {
        "heartbeat_s": heartbeat_s,
        "window_requests": window_requests,
        "window_s": window_s,
        "drift_tolerance": drift_tolerance,
        "drift_warm_up_windows": drift_warm_up,
        "drift_is_recentred": drift_recentred,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    fall_back = {"features": drift_fall_back_features, "for_s": drift_fall_back_s}
    chosen = {name: value for name, value in fall_back.items() if value is not None}
    if drift_fall_back or chosen:
        settings["drift_fall_back"] = chosen
    with connect() as client:
        found = client.devices.configure(find_device(client, device).id, **settings)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal devices revoke kitchen --reason stolen")
def revoke(device: Named, reason: Reason = "", as_json: AsJson = False) -> None:
    """Revoke a lost or stolen device: within seconds it is off the broker, and it gets in no more."""
    with connect() as client:
        found = client.devices.revoke(find_device(client, device).id, reason=reason)
    show(found, as_json=as_json, draw=lambda: _draw_farewell(found))


@app.command(epilog="Example: shoal devices decommission kitchen --reason replaced")
def decommission(device: Named, reason: Reason = "", as_json: AsJson = False) -> None:
    """Revoke a device for good and clear what hub and broker keep of it; its id is never given again."""
    with connect() as client:
        # Asked again, it has left the list of those that have names.
        found = client.devices.decommission(find_device(client, device, decommissioned=True).id, reason=reason)
    show(found, as_json=as_json, draw=lambda: _draw_farewell(found))


def _draw_farewell(device: DeviceDetail) -> None:
    what = "decommissioned" if device.decommissioned_at else "revoked"
    console.print(f"{device.id} is {what}; within seconds the broker refuses it: shoal devices show {device.id}")
    console.print("The board itself comes back by enrolling anew, under another id: shoal tokens create")


def _fallback(fallback: Fallback | None) -> str:
    """Say that another version answers."""
    if fallback is None:
        return ""
    return f"version {fallback.version} answers since {fallback.since_at:%H:%M}: {fallback.features} features drifted"


def _presence(device: Device) -> str:
    if device.decommissioned_at is not None:
        return "decommissioned"
    return "revoked" if device.revoked_at is not None else device.presence


def _farewell(device: DeviceDetail) -> list[tuple[str, object]]:
    if device.revoked_at is None:
        return []
    return [
        ("revoked", device.revoked_at),
        ("by", device.revoked_by),
        ("for", device.revoke_reason),
        ("cut off", device.cut_off_at or "not yet: the broker has not been seen to refuse it"),
        ("decommissioned", device.decommissioned_at),
        ("cleared", device.cleared_at),
    ]


def _hardware(device: Device) -> str:
    return device.hardware.model if device.hardware else ""


def _models(device: Device) -> str:
    parts = []
    for name, model in device.models.items():
        note = "" if model.section in {"applied", None} else f" ({model.section})"
        parts.append(f"{name} {model.version or '-'}{note}")
    return ", ".join(parts)


def _said(problem: Problem | None) -> str:
    return f"{problem.message}; {problem.remedy}" if problem else ""


def _draw(device: DeviceDetail) -> None:
    hardware = device.hardware
    desired = device.desired
    facts(
        [
            ("id", device.id),
            ("name", device.name),
            ("presence", device.presence),
            ("since", device.presence_since),
            ("reason", device.presence_reason),
            ("last seen", device.last_seen_at),
            ("in two places", device.clone_seen_at),
            ("enrolled", device.enrolled_at),
            *_farewell(device),
            ("group", device.group),
            ("tags", device.tags),
            ("certificate", f"{device.certificate_serial}, key {device.public_key_sha256}"),
            ("it ends", device.certificate_expires_at),
            ("encryption key", device.encryption_key),
            ("hardware", f"{hardware.model}, {hardware.architecture}, {hardware.cores} cores" if hardware else None),
            ("agent", device.agent_version),
            ("targets", device.targets),
            ("wanted", desired.models if desired else None),
            ("is reported", desired.is_reported if desired else None),
            ("problem", _said(device.problem)),
        ]
    )
    rows = [
        (
            name,
            one.version,
            one.target,
            one.section,
            _fallback(one.fallback) or _said(one.problem),
        )
        for name, one in device.models.items()
    ]
    table(("MODEL", "VERSION", "TARGET", "STATE", "PROBLEM"), rows, empty="No model runs on it yet.")
    others = [(name, one.state, one.step, _said(one.problem)) for name, one in device.sections.items()]
    if others:
        table(("SECTION", "STATE", "STEP", "PROBLEM"), others, empty="")
    if device.conflicts:
        console.print(f"[yellow]{len(device.conflicts)} wishes lost against stronger ones:[/yellow]")
        for conflict in device.conflicts:
            facts(conflict.items())
