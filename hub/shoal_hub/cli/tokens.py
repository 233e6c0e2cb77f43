"""`shoal tokens`: enrolment tokens."""

from typing import Annotated

import typer

from shoal_client.fleet import Token
from shoal_client.profile import read_profile
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, errors, print_json, show, table
from shoal_hub.cli.tags import Tags, read_tags

app = typer.Typer(help="Enrolment tokens, by which devices join.", no_args_is_help=True)


@app.command(epilog="Example: shoal tokens create --label kitchen")
def create(
    label: Annotated[str, typer.Option(help="What it is for; the device's name, if it gives none.")] = "",
    uses: Annotated[int, typer.Option(help="How many devices may enrol with it.", min=1)] = 1,
    hours: Annotated[float, typer.Option(help="Hours until it expires.", min=0.01)] = 24.0,
    group: Annotated[str, typer.Option(help="The group that its devices join.")] = "",
    tags: Tags = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it. It is shown this once."""
    given = read_tags(tags)
    with connect() as client:
        token = client.tokens.create(label=label, uses=uses, expires_in_s=round(hours * 3600), group=group, tags=given)
    if as_json:
        print_json(token)
        return
    typer.echo(token.token)
    hint = f"Expires in {hours:g} h, {uses} use(s). On the device: SHOAL_TOKEN=… shoal-agent enrol --hub {_url()}"
    errors.print(f"[dim]{hint}[/dim]", soft_wrap=True)


@app.command("list", epilog="Example: shoal tokens list")
def list_tokens(as_json: AsJson = False) -> None:
    """List tokens, newest first."""
    with connect() as client:
        tokens = client.tokens.list()
    rows = [
        (one.id, one.label, one.group, one.uses_left, one.expires_at, one.created_by, _state(one)) for one in tokens
    ]
    columns = ("ID", "LABEL", "GROUP", "USES LEFT", "EXPIRES", "BY", "")
    empty = "There is no token. Make one: shoal tokens create"
    show(tokens, as_json=as_json, draw=lambda: table(columns, rows, empty=empty))


@app.command(epilog="Example: shoal tokens revoke et-abcdefgh")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the token.")], as_json: AsJson = False
) -> None:
    """Withdraw a token. Devices that enrolled with it stay."""
    with connect() as client:
        token = client.tokens.revoke(token_id)
    show(token, as_json=as_json, draw=lambda: console.print(f"{token.id} is revoked"))


def _state(token: Token) -> str:
    return "revoked" if token.revoked_at else ""


def _url() -> str:
    return read_profile().url
