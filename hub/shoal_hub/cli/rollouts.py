"""`shoal rollouts`: bring a version to the fleet, watch it, take it back."""

from typing import Annotated

import typer
from rich.live import Live

from shoal_client import ClientError
from shoal_client.rollouts import RolloutDetail
from shoal_hub.cli.connection import connect
from shoal_hub.cli.history_view import draw_history
from shoal_hub.cli.output import AsJson, console, errors, print_line, show, table
from shoal_hub.cli.plan_view import draw_preview
from shoal_hub.cli.rollout_options import PlanOptions, with_plan_options
from shoal_hub.cli.rollout_view import WATCHED, Watched, draw, draw_briefly

app = typer.Typer(help="Versions on their way to devices, wave by wave.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
Version = Annotated[str, typer.Argument(help="Number, latest, stage or alias.")]
RolloutId = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Id of the rollout.")]


@app.command(epilog="Example: shoal rollouts plan digits 2 --waves 5%,25%,100%")
@with_plan_options
def plan(model: Model, version: Version, options: PlanOptions, as_json: AsJson = False) -> None:
    """Show what a rollout would do: which device gets which bytes, when, and who is refused. Nothing is kept."""
    with connect() as client:
        preview = client.rollouts.plan(model, version, **options.request(client))
    show(preview, as_json=as_json, draw=lambda: console.print(draw_preview(preview)))


@app.command(epilog="Example: shoal rollouts start digits 1 --waves 1,2 --watch")
@with_plan_options
def start(
    model: Model,
    version: Version,
    options: PlanOptions,
    watch: Annotated[bool, typer.Option("--watch", help="Wait for its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a rollout."""
    with connect() as client:
        rollout = client.rollouts.start(model, version, **options.request(client))
    if watch:
        follow(rollout.id, as_json=as_json)
    else:
        _after(rollout, as_json=as_json)


@app.command("list", epilog="Example: shoal rollouts list --model digits")
def list_rollouts(
    model: Annotated[str, typer.Option(help="Of one model only.")] = "",
    limit: Annotated[int, typer.Option(help="How many of the newest.", min=1, max=1000)] = 100,
    as_json: AsJson = False,
) -> None:
    """List rollouts, newest first."""
    with connect() as client:
        rollouts = client.rollouts.list(model=model, limit=limit)
    rows = [
        (one.id, f"{one.model} {one.version}", one.state, one.waves, one.counts, one.created_by, one.created_at)
        for one in rollouts
    ]
    columns = ("ID", "VERSION", "STATE", "WAVES", "DEVICES", "BY", "STARTED")
    empty = "There is no rollout. Start one: shoal rollouts start MODEL VERSION"
    show(rollouts, as_json=as_json, draw=lambda: table(columns, rows, empty=empty))


@app.command("show", epilog="Example: shoal rollouts show r-abcdefgh --limit 20")
def show_rollout(
    rollout: RolloutId,
    limit: Annotated[int, typer.Option(help="Devices to show.", min=0, max=100_000)] = 1000,
    as_json: AsJson = False,
) -> None:
    """Show a rollout with each device's attempt: first what has failed, then what is at it."""
    with connect() as client:
        found = client.rollouts.show(rollout, limit=limit, order="concern")
    show(found, as_json=as_json, draw=lambda: console.print(draw(found)))


@app.command(epilog="Example: shoal rollouts watch r-abcdefgh")
def watch(rollout: RolloutId, as_json: AsJson = False) -> None:
    """Watch a rollout until it has ended; exit status 1 unless it succeeded or was rolled back."""
    follow(rollout, as_json=as_json)


@app.command(epilog="Example: shoal rollouts pause r-abcdefgh")
def pause(rollout: RolloutId, as_json: AsJson = False) -> None:
    """Let no further device begin."""
    with connect() as client:
        _after(client.rollouts.pause(rollout), as_json=as_json)


@app.command(epilog="Example: shoal rollouts resume r-abcdefgh")
def resume(rollout: RolloutId, as_json: AsJson = False) -> None:
    """Go on with a paused rollout."""
    with connect() as client:
        _after(client.rollouts.resume(rollout), as_json=as_json)


@app.command(epilog="Example: shoal rollouts approve r-abcdefgh")
def approve(rollout: RolloutId, as_json: AsJson = False) -> None:
    """Let the next wave start, where waves wait for approval, or a wave past a gate that was undecided for its time."""
    with connect() as client:
        _after(client.rollouts.approve(rollout), as_json=as_json)


@app.command(epilog="Example: shoal rollouts history r-abcdefgh")
def history(
    rollout: RolloutId,
    limit: Annotated[int, typer.Option(help="How many of the last.", min=1, max=10_000)] = 1000,
    each: Annotated[bool, typer.Option("--each", help="Each step of each device in a line of its own.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what happened to a rollout, in order: what people and the hub did, and what devices told."""
    with connect() as client:
        entries = client.rollouts.history(rollout, limit=limit)
    show(entries, as_json=as_json, draw=lambda: console.print(draw_history(entries, is_each=each)))


@app.command(epilog="Example: shoal rollouts forward r-abcdefgh --watch")
def forward(
    rollout: RolloutId,
    watch: Annotated[bool, typer.Option("--watch", help="Wait for its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Undo a rollback or an abort: start a new rollout of the same version by the same plan."""
    with connect() as client:
        found = client.rollouts.forward(rollout)
    if watch:
        follow(found.id, as_json=as_json)
    else:
        _after(found, as_json=as_json)


@app.command(epilog="Example: shoal rollouts abort r-abcdefgh")
def abort(rollout: RolloutId, as_json: AsJson = False) -> None:
    """End a rollout; its devices go back to what they had, unless its plan says otherwise."""
    with connect() as client:
        _after(client.rollouts.abort(rollout), as_json=as_json)


@app.command(epilog="Example: shoal rollouts rollback r-abcdefgh --watch")
def rollback(
    rollout: RolloutId,
    watch: Annotated[bool, typer.Option("--watch", help="Wait until every device is back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take every device of a rollout back to what it had before."""
    with connect() as client:
        found = client.rollouts.roll_back(rollout)
    if watch:
        follow(rollout, as_json=as_json)
    else:
        _after(found, as_json=as_json)


def follow(rollout_id: str, *, as_json: bool) -> None:
    """Show a rollout as it changes until it has ended.

    Raises:
        ClientError: It ended without success.
    """
    last: RolloutDetail | None = None
    with connect() as client, Live(console=errors, transient=True, refresh_per_second=4) as live:
        for last in client.rollouts.watch(rollout_id, limit=1000 if as_json else WATCHED, order="concern"):
            if as_json:
                print_line(last)
            else:
                live.update(Watched(last))
    if last is None:
        return
    if not as_json:
        console.print(draw_briefly(last))
    if last.state not in {"succeeded", "rolled_back"}:
        reason = f": {last.reason}" if last.reason else ""
        raise ClientError(f"rollout {last.id} ended as {last.state}{reason}", f"see why: shoal rollouts show {last.id}")


def _after(rollout: RolloutDetail, *, as_json: bool) -> None:
    show(rollout, as_json=as_json, draw=lambda: console.print(draw_briefly(rollout)))
