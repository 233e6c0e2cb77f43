"""`shoal groups`: named selections of devices, static or by a query."""

from typing import Annotated

import typer

from shoal_client.groups import GroupDetail
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, console, facts, show, table

app = typer.Typer(
    help="Groups: named selections of devices, static or by a query. Their devices: shoal devices list --group NAME",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the group.")]


@app.command("list", epilog="Example: shoal groups list")
def list_groups(as_json: AsJson = False) -> None:
    """List groups by name."""
    with connect() as client:
        groups = client.groups.list()
    rows = [(one.name, one.kind, one.query, one.description, one.created_by, one.created_at) for one in groups]
    columns = ("NAME", "KIND", "QUERY", "DESCRIPTION", "BY", "MADE")
    show(groups, as_json=as_json, draw=lambda: table(columns, rows, empty="No group yet: shoal groups create"))


@app.command("show", epilog="Example: shoal groups show canaries")
def show_group(name: Name, as_json: AsJson = False) -> None:
    """Show a group, and how many devices are in it now."""
    with connect() as client:
        group = client.groups.show(name)
    show(group, as_json=as_json, draw=lambda: _draw(group))


@app.command(epilog="Example: shoal groups create paris --query 'tags.site = paris and presence = online'")
def create(
    name: Name,
    query: Annotated[
        str | None, typer.Option(help="What its devices match, at each moment anew: a dynamic group. Static without.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Name or id of a device of a static group. May be given several times.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a group. Devices whose home is a static group are in it besides those that it lists."""
    with connect() as client:
        devices = [find_device(client, one).id for one in device or ()]
        group = client.groups.create(name, query=query, devices=devices, description=description)
    show(group, as_json=as_json, draw=lambda: _draw(group))


@app.command("set", epilog="Example: shoal groups set canaries --add kitchen --remove garden")
def set_group(
    name: Name,
    query: Annotated[str | None, typer.Option(help="Another query, for a dynamic group.")] = None,
    add: Annotated[
        list[str] | None, typer.Option(help="Name or id of a device to list, too. May be given several times.")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Name or id of a device to list no more.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a group; what is left out stays."""
    with connect() as client:
        more, fewer = ([find_device(client, one).id for one in named or ()] for named in (add, remove))
        group = client.groups.update(name, query=query, add=more, remove=fewer, description=description)
    show(group, as_json=as_json, draw=lambda: _draw(group))


@app.command(epilog="Example: shoal groups delete canaries")
def delete(name: Name, as_json: AsJson = False) -> None:
    """End a group that is nobody's home; its devices stay."""
    with connect() as client:
        group = client.groups.delete(name)
    show(group, as_json=as_json, draw=lambda: console.print(f"group {group.name} is no more"))


def _draw(group: GroupDetail) -> None:
    listed = [("lists", group.devices)] if group.kind == "static" else [("query", group.query)]
    facts(
        [
            ("group", group.name),
            ("kind", group.kind),
            *listed,
            ("members", group.members),
            ("description", group.description),
            ("made by", group.created_by),
            ("made", group.created_at),
        ]
    )
