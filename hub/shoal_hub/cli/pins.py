"""`shoal devices pin|unpin|pins`: a device that stays on one version of a model."""

from datetime import datetime, timedelta, timezone
from typing import Annotated

import typer

from shoal_client.pins import Pin
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, console, show, table

Device = Annotated[str, typer.Argument(metavar="DEVICE", help="Name or id of the device.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]


def add_commands(app: typer.Typer) -> None:
    """Add them to `shoal devices`."""
    app.command("pin", epilog="Example: shoal devices pin kitchen digits 3 --for-h 48")(pin)
    app.command("unpin", epilog="Example: shoal devices unpin kitchen digits")(unpin)
    app.command("pins", epilog="Example: shoal devices pins --model digits")(pins)


def pin(
    device: Device,
    model: Model,
    version: Annotated[str, typer.Argument(help="Number, latest, stage or alias.")],
    for_h: Annotated[float | None, typer.Option(help="Hours after which it ends by itself.", min=0.01)] = None,
    as_json: AsJson = False,
) -> None:
    """Have a device stay on one version of a model, whatever rollouts want."""
    until = datetime.now(timezone.utc) + timedelta(hours=for_h) if for_h is not None else None
    with connect() as client:
        made = client.pins.pin(find_device(client, device).id, model, version, until=until)
    show(made, as_json=as_json, draw=lambda: _draw([made]))


def unpin(device: Device, model: Model, as_json: AsJson = False) -> None:
    """Let a device go: what rollouts want of it holds again."""
    with connect() as client:
        was = client.pins.unpin(find_device(client, device).id, model)
    text = f"{was.device_id} stays no longer on {model} version {was.version}"
    show(was, as_json=as_json, draw=lambda: console.print(text))


def pins(model: Annotated[str, typer.Option(help="Of one model only.")] = "", as_json: AsJson = False) -> None:
    """List the devices that stay on a version."""
    with connect() as client:
        found = list(client.pins.list(model=model))
    show(found, as_json=as_json, draw=lambda: _draw(found))


def _draw(found: list[Pin]) -> None:
    rows = [(one.device_id, one.model, one.version, one.target, one.pinned_at, one.until or "") for one in found]
    table(("DEVICE", "MODEL", "VERSION", "TARGET", "SINCE", "UNTIL"), rows, empty="No device is pinned.")
