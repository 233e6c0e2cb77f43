"""`shoal features`: what devices compute of their events, kept at the hub and assigned to groups and devices."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from shoal_client import ClientError, ShoalClient
from shoal_client.features import FeatureDevice, FeatureSet, FeatureSetDetail
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, console, facts, show, table

app = typer.Typer(
    help="Features: named definitions and pipelines that devices compute of their events.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the features.")]
Groups = Annotated[list[str] | None, typer.Option("--group", help="Name of a group. May be given several times.")]
Devices = Annotated[
    list[str] | None, typer.Option("--device", help="Name or id of a device. May be given several times.")
]


@app.command("list", epilog="Example: shoal features list")
def list_features(as_json: AsJson = False) -> None:
    """List features by name, and whom they are assigned to."""
    with connect() as client:
        found = client.features.list()
    rows = [(one.name, one.version, one.pipelines, _targets(one), one.set_by, one.set_at) for one in found]
    columns = ("NAME", "VERSION", "PIPELINES", "ASSIGNED TO", "BY", "SET")
    show(found, as_json=as_json, draw=lambda: table(columns, rows, empty="No features yet: shoal features set"))


@app.command("set", epilog="Example: shoal features set pumps pumps.json")
def set_features(
    name: Name,
    file: Annotated[Path, typer.Argument(help="JSON with `definitions` and `pipelines`; - for standard input.")],
    as_json: AsJson = False,
) -> None:
    """Keep definitions and pipelines under a name, as a new version; devices that have the name are told."""
    body = _read(file)
    with connect() as client:
        found = client.features.set(name, body)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command("show", epilog="Example: shoal features show pumps --version 2 --definition > pumps.json")
def show_features(
    name: Name,
    version: Annotated[int | None, typer.Option(min=1, help="A version; the newest without.")] = None,
    definition: Annotated[bool, typer.Option("--definition", help="Print the file that it was set to alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one version of features, the versions that are kept, and whom they are assigned to."""
    with connect() as client:
        found = client.features.show(name, version=version)
    if definition:
        typer.echo(json.dumps(found.body, indent=2))
    else:
        show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal features assign pumps --group plant --device kitchen")
def assign(name: Name, group: Groups = None, device: Devices = None, as_json: AsJson = False) -> None:
    """Have devices compute features: those of groups, whoever is in them at the time, and devices by themselves."""
    with connect() as client:
        for target in _chosen(client, group, device):
            client.features.assign(name, **target)
        found = client.features.show(name)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal features unassign pumps --group plant")
def unassign(name: Name, group: Groups = None, device: Devices = None, as_json: AsJson = False) -> None:
    """Take features away from groups and devices."""
    with connect() as client:
        for target in _chosen(client, group, device):
            client.features.unassign(name, **target)
        found = client.features.show(name)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal features remove pumps")
def remove(name: Name, as_json: AsJson = False) -> None:
    """Forget features that are assigned to nobody, with all their versions."""
    with connect() as client:
        found = client.features.remove(name)
    show(found, as_json=as_json, draw=lambda: console.print(f"features {found.name} are no more"))


@app.command(epilog="Example: shoal features status pumps")
def status(name: Name, as_json: AsJson = False) -> None:
    """Show which devices compute features, which failed, and with which problem."""
    with connect() as client:
        found = list(client.features.devices(name))
    rows = [row for one in found for row in _rows(one)]
    columns = ("DEVICE", "ID", "PRESENCE", "VERSION", "PIPELINE", "STATE", "PROBLEM")
    empty = f"No device has them yet: shoal features assign {name}"
    show(found, as_json=as_json, draw=lambda: table(columns, rows, empty=empty))


def _rows(device: FeatureDevice) -> list[tuple[object, ...]]:
    head = (device.name, device.id, device.presence, device.version)
    if device.left_out:
        return [(*head, "", "left out", device.left_out)]
    return [
        (*head, one.name, one.state, f"{one.problem.message}; {one.problem.remedy}" if one.problem else "")
        for one in device.pipelines
    ]


def _chosen(client: ShoalClient, groups: list[str] | None, devices: list[str] | None) -> list[dict[str, str]]:
    chosen = [{"group": one} for one in groups or ()]
    chosen += [{"device_id": find_device(client, one).id} for one in devices or ()]
    if not chosen:
        raise ClientError("no group and no device is named", "give --group NAME or --device DEVICE")
    return chosen


def _read(file: Path) -> dict[str, Any]:
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    try:
        body = json.loads(text)
    except ValueError as error:
        raise ClientError(f"reading {file}: {error}", "give a file of JSON, see the guide on features") from error
    if not isinstance(body, dict):
        raise ClientError(f"reading {file}: {type(body).__name__} found, expected an object", "see the guide")
    return body


def _targets(found: FeatureSet) -> list[str]:
    return [*(f"group {one}" for one in found.groups), *found.devices]


def _draw(found: FeatureSetDetail) -> None:
    definitions: dict[str, Any] = found.body.get("definitions", {})
    facts(
        [
            ("name", found.name),
            ("version", found.number if found.number == found.version else f"{found.number} of {found.version}"),
            ("definitions", sorted(definitions)),
            ("pipelines", sorted(found.body.get("pipelines", {}))),
            ("assigned to", _targets(found)),
            ("devices", found.device_count),
        ]
    )
    rows = [(one.number, one.set_by, one.set_at) for one in found.versions]
    table(("VERSION", "BY", "SET"), rows, empty="")
