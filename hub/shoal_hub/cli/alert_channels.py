"""`shoal alerts channels`: the ways by which people are told. Secrets come by a prompt or standard input alone."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from shoal_client import ClientError
from shoal_client.alerts import AlertChannel, AlertDelivery
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, show, table
from shoal_hub.cli.secret_input import read_secret

app = typer.Typer(help="Channels: the ways by which people are told.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The channel's name.")]
_WAIT_S = 30.0


@app.command("list", epilog="Example: shoal alerts channels list")
def list_channels(as_json: AsJson = False) -> None:
    """List channels, without what is secret of them."""
    with connect() as client:
        found = client.alerts.channels()
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal alerts channels add ops --kind webhook < url-and-secret.txt")
def add(
    name: Name,
    kind: Annotated[
        str | None, typer.Option(help="webhook, slack, email or mqtt; without, the channel leads where it did.")
    ] = None,
    least_severity: Annotated[str, typer.Option(help="info, warning or critical: less is not told to it.")] = "info",
    off: Annotated[bool, typer.Option("--off", help="Tell it nothing.")] = False,
    host: Annotated[str, typer.Option(help="The mail server.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Its port.")] = 587,
    security: Annotated[str, typer.Option(help="starttls, tls, or none on the hub's own machine.")] = "starttls",
    sender: Annotated[str, typer.Option(help="Whom mail is from.")] = "",
    to: Annotated[list[str] | None, typer.Option(help="Whom mail is to; several times for several.")] = None,
    username: Annotated[str, typer.Option(help="Login at the mail server; its password is asked for.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a channel, or change it. Addresses and keys that are secret are asked for, or read from standard input.

    A webhook's are its URL and the key that signs what is sent, a line each; a Slack-compatible chat's is the URL.
    """
    match kind:
        case None:
            target: dict[str, Any] | None = None
        case "webhook":
            url = read_secret("URL").get_secret_value()
            target = {"kind": kind, "url": url, "secret": read_secret("Signing key").get_secret_value()}
        case "slack":
            target = {"kind": kind, "url": read_secret("URL").get_secret_value()}
        case "email":
            target = {"kind": kind, "host": host, "port": port, "security": security, "sender": sender, "to": to or []}
            if username:
                target |= {"username": username, "password": read_secret("Password").get_secret_value()}
        case "mqtt":
            target = {"kind": kind}
        case _:
            raise ClientError(f"there are no channels of kind {kind!r}", "give webhook, slack, email or mqtt")
    with connect() as client:
        made = client.alerts.set_channel(name, target, least_severity=least_severity, is_enabled=not off)  # type: ignore[arg-type]  # the hub says what there is
    show(made, as_json=as_json, draw=lambda: _draw([made]))


@app.command("test", epilog="Example: shoal alerts channels test ops")
def try_channel(
    name: Name,
    wait: Annotated[float, typer.Option(min=0, help="Wait so many s for the first attempt.")] = _WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Have a message sent by a channel, as alerts are, and say how that went; status 1 where it was not sent."""
    with connect() as client:
        found = client.alerts.test_channel(name, wait_s=wait)
    show(found, as_json=as_json, draw=lambda: draw_deliveries([found]))
    if found.state != "sent":
        raise typer.Exit(1)


@app.command(epilog="Example: shoal alerts channels remove ops")
def remove(name: Name, as_json: AsJson = False) -> None:
    """Forget a channel with its secrets; what waits to be sent by it is not sent."""
    with connect() as client:
        was = client.alerts.remove_channel(name)
    show(was, as_json=as_json, draw=lambda: console.print(f"the channel {was.name} is forgotten"))


def draw_deliveries(found: Sequence[AlertDelivery]) -> None:
    """Draw messages and how far they are."""
    rows = [
        (one.id, one.channel, one.about, one.state, one.attempts, one.problem, one.created_at, one.sent_at)
        for one in found
    ]
    columns = ("ID", "CHANNEL", "ABOUT", "STATE", "ATTEMPTS", "PROBLEM", "SINCE", "SENT")
    table(columns, rows, empty="Nothing was to be told")


def _draw(found: Sequence[AlertChannel]) -> None:
    rows = [
        (one.name, one.kind, one.address, one.least_severity, "on" if one.is_enabled else "off", one.set_by, one.set_at)
        for one in found
    ]
    columns = ("NAME", "KIND", "LEADS TO", "LEAST SEVERITY", "STATE", "SET BY", "SET")
    table(columns, rows, empty="There is no channel, so nobody is told: shoal alerts channels add")
