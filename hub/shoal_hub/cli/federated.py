"""`shoal federated`: runs in which devices train on data that stays on them."""

from typing import Annotated

import typer

from shoal_client import ClientError
from shoal_client.registry import FederatedRunDetail
from shoal_hub.cli.connection import connect, find_device
from shoal_hub.cli.output import AsJson, console, errors, facts, print_line, show, table

app = typer.Typer(help="Federated runs.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]


@app.command(epilog="Example: shoal federated start digits --rounds 3 --watch")
def start(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")],
    version: Annotated[str, typer.Option(help="Number, latest, stage or alias to begin with.")] = "latest",
    dataset: Annotated[str | None, typer.Option(help="The devices' dataset; named like the model without it.")] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="A device by id or name; may be repeated. All without it.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="How many rounds.", min=1)] = 3,
    min_devices: Annotated[int, typer.Option(help="A round with fewer answers fails.", min=1)] = 2,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over its data that a device makes in a round.", min=1)
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the devices' training.")] = None,
    parent_share: Annotated[
        float | None, typer.Option(help="Share of the base version's weights that the result keeps, 0 to 0.9.")
    ] = None,
    deadline_s: Annotated[float | None, typer.Option(help="Seconds that a round may take.", min=1)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Wait for its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a federated run."""
    with connect() as client:
        run = client.federated.start(
            model,
            version=version,
            devices=[find_device(client, named).id for named in device] if device else None,
            dataset=dataset,
            rounds=rounds,
            min_devices=min_devices,
            epochs=epochs,
            learning_rate=learning_rate,
            parent_share=parent_share,
            deadline_s=deadline_s,
        )
    if watch:
        follow(run.id, as_json=as_json)
    else:
        note = f"{run.id} has started on {len(run.devices)} devices: shoal federated watch {run.id}"
        show(run, as_json=as_json, draw=lambda: console.print(note))


@app.command("list", epilog="Example: shoal federated list")
def list_runs(as_json: AsJson = False) -> None:
    """List runs, newest first."""
    with connect() as client:
        runs = client.federated.list()
    rows = [
        (
            one.id,
            f"{one.model} {one.base_version}",
            one.state,
            f"{one.current_round}/{one.rounds}",
            one.result_version,
            one.created_at,
        )
        for one in runs
    ]
    columns = ("ID", "FROM", "STATE", "ROUND", "RESULT", "STARTED")
    empty = "There is no run. Start one: shoal federated start MODEL"
    show(runs, as_json=as_json, draw=lambda: table(columns, rows, empty=empty))


@app.command("show", epilog="Example: shoal federated show f-abcdefgh")
def show_run(run: RunId, as_json: AsJson = False) -> None:
    """Show a run with every device's answers."""
    with connect() as client:
        found = client.federated.show(run)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal federated watch f-abcdefgh")
def watch(run: RunId, as_json: AsJson = False) -> None:
    """Watch a run until it has ended; exit status 1 unless it succeeded."""
    follow(run, as_json=as_json)


@app.command(epilog="Example: shoal federated stop f-abcdefgh")
def stop(run: RunId, as_json: AsJson = False) -> None:
    """Stop a run; the round that is open is abandoned."""
    with connect() as client:
        found = client.federated.stop(run)
    show(found, as_json=as_json, draw=lambda: console.print(f"{found.id} is {found.state}"))


def follow(run_id: str, *, as_json: bool) -> None:
    """Show a run as it changes until it has ended.

    Raises:
        ClientError: It ended without success.
    """
    last: FederatedRunDetail | None = None
    with connect() as client, errors.status("waiting for the first round") as status:
        for last in client.federated.watch(run_id):
            if as_json:
                print_line(last)
            answers = sum(one.round == last.current_round for one in last.answers)
            status.update(f"round {last.current_round} of {last.rounds}: {answers} of {len(last.devices)} answers")
    if last is None:
        return
    if not as_json:
        _draw(last)
    if last.state != "succeeded":
        raise ClientError(
            f"run {last.id} ended as {last.state}: {last.reason}", f"see why: shoal jobs log {last.job_id}"
        )


def _draw(run: FederatedRunDetail) -> None:
    facts(
        [
            ("run", run.id),
            ("from", f"{run.model} version {run.base_version}"),
            ("state", run.state),
            ("round", f"{run.current_round} of {run.rounds}"),
            ("result", f"version {run.result_version}" if run.result_version else None),
            ("reason", run.reason),
        ]
    )
    rows = [
        (
            one.round,
            one.device_id,
            one.outcome,
            one.examples,
            one.loss_before,
            one.loss_after,
            one.duration_s,
            f"{one.problem.message}; {one.problem.remedy}" if one.problem else "",
        )
        for one in run.answers
    ]
    columns = ("ROUND", "DEVICE", "OUTCOME", "EXAMPLES", "LOSS BEFORE", "AFTER", "SECONDS", "PROBLEM")
    table(columns, rows, empty="No device has answered yet.")
