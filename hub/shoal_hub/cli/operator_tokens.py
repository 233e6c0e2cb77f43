"""`shoal operator-tokens`: API tokens of users (enrolment tokens of devices are `shoal tokens`)."""

from typing import Annotated, get_args

import click
import typer

from shoal_client.operators import Scope
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, errors, print_json, show, table
from shoal_hub.cli.users import RoleOption

SCOPES = get_args(Scope)
app = typer.Typer(help="API tokens, by which people's programs use the hub.", no_args_is_help=True)


@app.command(epilog="Example: shoal operator-tokens create ci --role operator --scope read --scope models")
def create(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whom it speaks for.")],
    role: RoleOption = "viewer",
    scope: Annotated[
        list[str] | None,  # typer takes no list of a Literal
        typer.Option(help="What it opens; may be repeated. read without it.", click_type=click.Choice(SCOPES)),
    ] = None,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[float, typer.Option(help="Days until it expires.", min=0.001, max=366)] = 90.0,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it. It is shown this once, and never may more than its user."""
    with connect() as client:
        token = client.operator_tokens.create(
            user,
            role,
            scope or ("read",),  # type: ignore[arg-type]  # of SCOPES
            label=label,
            expires_in_s=round(days * 86_400),
        )
    if as_json:
        print_json(token)
        return
    typer.echo(token.token)
    errors.print(f"[dim]{token.id} expires in {days:g} days. To use it: shoal login URL[/dim]", soft_wrap=True)


@app.command("list", epilog="Example: shoal operator-tokens list")
def list_tokens(as_json: AsJson = False) -> None:
    """List tokens, newest first: everybody's for an admin, one's own for others."""
    with connect() as client:
        tokens = client.operator_tokens.list()
    rows = [
        (
            one.id,
            one.user,
            one.label,
            one.role,
            one.scopes,
            one.expires_at,
            one.last_used_at,
            "revoked" if one.revoked_at else "",
        )
        for one in tokens
    ]
    columns = ("ID", "USER", "LABEL", "ROLE", "SCOPES", "EXPIRES", "USED", "")
    empty = "There is no token. Make one: shoal operator-tokens create USER"
    show(tokens, as_json=as_json, draw=lambda: table(columns, rows, empty=empty))


@app.command(epilog="Example: shoal operator-tokens revoke op-abcdefgh")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the token.")], as_json: AsJson = False
) -> None:
    """Withdraw a token, and every console session that it opened."""
    with connect() as client:
        token = client.operator_tokens.revoke(token_id)
    show(token, as_json=as_json, draw=lambda: console.print(f"{token.id} of {token.user} is revoked"))
