"""`shoal rollouts`: bring a version to the fleet, watch it, take it back."""

from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from shoal_client import ClientError
from shoal_client.fleet import RolloutDetail
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.models import parse_waves
from shoal_hub.cli.output import AsJson, cell, console, errors, print_json, print_line, show, size_text, table

app = typer.Typer(help="Versions on their way to devices, wave by wave.", no_args_is_help=True)

RolloutId = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Id of the rollout.")]


@app.command(epilog="Example: shoal rollouts start digits 1 --waves 1,2 --watch")
def start(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="Number, latest, stage or alias.")],
    device: Annotated[
        list[str] | None, typer.Option(help="A device by id or name; may be repeated. All without it.")
    ] = None,
    waves: Annotated[str, typer.Option(help="Devices in each wave, like 1,2; the remainder joins the last.")] = "",
    max_failures: Annotated[int, typer.Option(help="Failed devices before it is aborted.", min=0)] = 0,
    timeout_s: Annotated[float, typer.Option(help="Seconds that one device may take.", min=1)] = 600.0,
    watch: Annotated[bool, typer.Option("--watch", help="Wait for its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a rollout."""
    with connect() as client:
        devices = [find_device(client, named).id for named in device] if device else None
        rollout = client.rollouts.start(
            model, version, devices=devices, waves=parse_waves(waves), max_failures=max_failures, timeout_s=timeout_s
        )
    if watch:
        follow(rollout.id, as_json=as_json)
    else:
        show(rollout, as_json=as_json, draw=lambda: console.print(draw(rollout)))


@app.command("list", epilog="Example: shoal rollouts list --model digits")
def list_rollouts(model: Annotated[str, typer.Option(help="Of one model only.")] = "", as_json: AsJson = False) -> None:
    """List rollouts, newest first."""
    with connect() as client:
        rollouts = client.rollouts.list(model=model)
    rows = [
        (one.id, f"{one.model} {one.version}", one.state, one.waves, one.counts, one.created_by, one.created_at)
        for one in rollouts
    ]
    columns = ("ID", "VERSION", "STATE", "WAVES", "DEVICES", "BY", "STARTED")
    empty = "There is no rollout. Start one: shoal rollouts start MODEL VERSION"
    show(rollouts, as_json=as_json, draw=lambda: table(columns, rows, empty=empty))


@app.command("show", epilog="Example: shoal rollouts show r-abcdefgh")
def show_rollout(rollout: RolloutId, as_json: AsJson = False) -> None:
    """Show a rollout with each device's attempt."""
    with connect() as client:
        found = client.rollouts.show(rollout)
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


@app.command(epilog="Example: shoal rollouts abort r-abcdefgh")
def abort(rollout: RolloutId, as_json: AsJson = False) -> None:
    """End a rollout; its devices go back to what they had."""
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
        for last in client.rollouts.watch(rollout_id):
            if as_json:
                print_line(last)
            else:
                live.update(draw(last))
    if last is None:
        return
    if not as_json:
        console.print(draw(last))
    if last.state not in {"succeeded", "rolled_back"}:
        reason = f": {last.reason}" if last.reason else ""
        raise ClientError(f"rollout {last.id} ended as {last.state}{reason}", f"see why: shoal rollouts show {last.id}")


def draw(rollout: RolloutDetail) -> Group:
    """Return a rollout as a headline and a table of its deployments."""
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("WAVE", "DEVICE", "STATE", "STEP", "TARGET", "FETCHED", "PROBLEM"):
        drawn.add_column(column, overflow="fold")
    for one in rollout.deployments:
        problem = f"{one.problem.message}; {one.problem.remedy}" if one.problem else ""
        fetched = size_text(one.fetched_bytes) if one.fetched_bytes is not None else ""
        row = (one.wave + 1, one.device_id, one.state, one.step, one.target, fetched, problem)
        drawn.add_row(*(cell(value) for value in row))
    waves = f"wave {min(rollout.current_wave + 1, len(rollout.waves))} of {len(rollout.waves)}"
    headline = f"{rollout.id}: {rollout.model} version {rollout.version}, {cell(rollout.state)}, {waves}"
    if rollout.is_waiting_for_deltas:
        headline += ", waits for its deltas"
    return Group(headline + (f"  {cell(rollout.reason)}" if rollout.reason else ""), drawn, *_traffic(rollout))


def _traffic(rollout: RolloutDetail) -> list[str]:
    """Return the line on what travelled, once a device has told."""
    if not rollout.whole_bytes:
        return []
    saved = 1 - rollout.fetched_bytes / rollout.whole_bytes
    ratio = f", {saved:.0%} saved" if saved > 0 else ""
    return [f"fetched {size_text(rollout.fetched_bytes)} of {size_text(rollout.whole_bytes)} of model files{ratio}"]


def _after(rollout: RolloutDetail, *, as_json: bool) -> None:
    if as_json:
        print_json(rollout)
    else:
        console.print(draw(rollout))
