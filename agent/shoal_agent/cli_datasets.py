"""`shoal-agent data`: labelled examples for federated rounds."""

import json
from pathlib import Path

import click

from shoal_agent.cli_options import READABLE_FILE, data_option, json_option, readable


@click.group("data")
def data_group() -> None:
    """Labelled examples for federated rounds; they never leave this device."""


@data_group.command("add", epilog="Example: shoal-agent data add digits labelled.npz")
@data_option
@click.argument("name", help="The dataset's name, as federated runs ask for it.")
@click.argument("file", type=READABLE_FILE, help="An .npz with x (n, ...) and y (n,).")
@readable
def data_add(*, data: Path, name: str, file: Path) -> None:
    """Keep labelled examples on this device for federated rounds."""
    from shoal_agent.federated import Datasets

    count = Datasets(data / "datasets").add(name, file)
    click.echo(f"dataset {name}: {count} labelled examples, kept on this device")


@data_group.command("list", epilog="Example: shoal-agent data list --json")
@data_option
@json_option
@readable
def data_list(*, data: Path, as_json: bool) -> None:
    """List the datasets on this device."""
    from shoal_agent.federated import Datasets

    sizes = Datasets(data / "datasets").sizes()
    if as_json:
        click.echo(json.dumps(sizes))
        return
    for name, count in sizes.items():
        click.echo(f"{name}: {count} labelled examples")
    if not sizes:
        click.echo("no datasets yet; add one with: shoal-agent data add NAME FILE.npz")
