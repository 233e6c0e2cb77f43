"""`shoal trust ca`: another CA takes the place of the devices' present one."""

from typing import Annotated

import typer

from shoal_client.fleet import CaRotation
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, facts, show

app = typer.Typer(help="The devices' CA: announce a new one, switch to it, finish.", no_args_is_help=True)

_NEXT = {
    "steady": "Nothing to do. To begin: shoal trust ca announce",
    "announced": "Devices learn of it as they look. Next: shoal trust ca switch",
    "switched": "Devices get certificates by it as they renew. When none is left: shoal trust ca finish",
}


@app.command(epilog="Example: shoal trust ca status")
def status(as_json: AsJson = False) -> None:
    """Show how far a change is, and how many devices and tokens still depend on the old CA."""
    with connect() as client:
        found = client.ca.status()
    _show(found, as_json=as_json)


@app.command(epilog="Example: shoal trust ca announce")
def announce(as_json: AsJson = False) -> None:
    """Make a new CA, and have devices trust it beside the present one."""
    with connect() as client:
        found = client.ca.announce()
    _show(found, as_json=as_json)


@app.command(epilog="Example: shoal trust ca switch")
def switch(as_json: AsJson = False) -> None:
    """Sign by the new CA from now on; the broker starts again with its certificate."""
    with connect() as client:
        found = client.ca.switch()
    _show(found, as_json=as_json)


@app.command(epilog="Example: shoal trust ca finish")
def finish(
    force: Annotated[bool, typer.Option(help="Leave behind who still depends on the old one.")] = False,
    as_json: AsJson = False,
) -> None:
    """Trust the new CA alone, and delete the old one's key."""
    with connect() as client:
        found = client.ca.finish(force=force)
    _show(found, as_json=as_json)


def _show(found: CaRotation, *, as_json: bool) -> None:
    show(found, as_json=as_json, draw=lambda: _draw(found))


def _draw(found: CaRotation) -> None:
    facts(
        [
            ("phase", found.phase),
            ("signs", found.issuing),
            ("trusted", found.trusted),
            ("devices left", str(found.devices_left)),
            ("tokens left", str(found.tokens_left)),
        ]
    )
    console.print(f"[dim]{_NEXT[found.phase]}[/dim]", soft_wrap=True)
