"""`shoal users` and `shoal whoami`: who may use the hub, and as what."""

from typing import Annotated

import typer

from shoal_client.operators import Caller, Role, User
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, facts, show, table
from shoal_hub.cli.secret_input import read_secret

app = typer.Typer(help="Users of the hub and their roles.", no_args_is_help=True)

RoleOption = Annotated[Role, typer.Option(help="Each may all that the one before it may.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the user.")]


def whoami(as_json: AsJson = False) -> None:
    """Show as whom this machine talks to the hub, and what it may."""
    with connect() as client:
        caller = client.operator()
    show(caller, as_json=as_json, draw=lambda: _draw_caller(caller))


@app.command("list", epilog="Example: shoal users list")
def list_users(as_json: AsJson = False) -> None:
    """List users by name."""
    with connect() as client:
        users = client.users.list()
    rows = [(one.name, one.role, one.comes_by, one.created_at, "disabled" if one.disabled_at else "") for one in users]
    columns = ("NAME", "ROLE", "COMES BY", "SINCE", "")
    show(users, as_json=as_json, draw=lambda: table(columns, rows, empty="There is no user."))


@app.command(epilog="Example: shoal users create ada --role operator")
def create(
    name: Name,
    role: RoleOption = "viewer",
    no_password: Annotated[
        bool, typer.Option("--no-password", help="For a program: it comes in by token alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a user. The password is asked for, or read from standard input."""
    password = None if no_password else read_secret(f"New password of {name}", is_new=True)
    with connect() as client:
        user = client.users.create(name, role, password)
    show(user, as_json=as_json, draw=lambda: _draw(user))


@app.command("set-role", epilog="Example: shoal users set-role ada approver")
def set_role(
    name: Name,
    role: Annotated[Role, typer.Argument(help="Each may all that the one before it may.")],
    as_json: AsJson = False,
) -> None:
    """Give a user another role; their tokens and open sessions follow at once."""
    with connect() as client:
        user = client.users.set_role(name, role)
    show(user, as_json=as_json, draw=lambda: _draw(user))


@app.command(epilog="Example: shoal users disable ada")
def disable(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Let the user in again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a user in no more: password, tokens and open sessions end at once."""
    with connect() as client:
        user = client.users.disable(name, is_disabled=not undo)
    show(user, as_json=as_json, draw=lambda: _draw(user))


@app.command("reset-password", epilog="Example: shoal users reset-password ada")
def reset_password(name: Name, as_json: AsJson = False) -> None:
    """Give a user a password, asked for or read from standard input. Open sessions end; API tokens stay."""
    password = read_secret(f"New password of {name}", is_new=True)
    with connect() as client:
        user = client.users.reset_password(name, password)
    show(user, as_json=as_json, draw=lambda: console.print(f"{user.name} has a new password"))


def _draw(user: User) -> None:
    console.print(f"{user.name} is {user.role}{', disabled' if user.disabled_at else ''}")


def _draw_caller(caller: Caller) -> None:
    facts([("name", caller.name), ("role", caller.role), ("scopes", caller.scopes), ("token", caller.token_id)])
