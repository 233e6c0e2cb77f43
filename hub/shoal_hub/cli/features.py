"""`shoal features`: what devices compute of their events, kept at the hub and assigned to groups and devices."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from shoal_client.features import FeatureDevice, FeatureSet, FeatureSetDetail
from shoal_hub.cli.connection import connect
from shoal_hub.cli.object_file import read_object
from shoal_hub.cli.output import AsJson, console, facts, show, table
from shoal_hub.cli.targets import Devices, Groups, chosen_targets, target_texts

app = typer.Typer(
    help="Features: named definitions and pipelines that devices compute of their events.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the features.")]


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
    file: Annotated[Path, typer.Argument(help="JSON or .toml with definitions and pipelines; - for stdin.")],
    as_json: AsJson = False,
) -> None:
    """Keep definitions and pipelines under a name, as a new version; devices that have the name are told."""
    body = read_object(file, "features")
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
        for target in chosen_targets(client, group, device):
            client.features.assign(name, **target)
        found = client.features.show(name)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal features unassign pumps --group plant")
def unassign(name: Name, group: Groups = None, device: Devices = None, as_json: AsJson = False) -> None:
    """Take features away from groups and devices."""
    with connect() as client:
        for target in chosen_targets(client, group, device):
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


def _targets(found: FeatureSet) -> list[str]:
    return target_texts(found.groups, found.devices)


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
