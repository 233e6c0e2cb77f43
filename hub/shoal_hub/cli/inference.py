"""`shoal inference`: a model of the hub answers the rows of a source, at the hub by schedule, or on this machine."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.syntax import Syntax

from shoal_client import ClientError, ShoalClient
from shoal_client.batch_inference import Inference, InferenceRun
from shoal_compression.errors import CompressionError
from shoal_hub.cli.connection import connect
from shoal_hub.cli.jobs import wait
from shoal_hub.cli.output import AsJson, console, errors, facts, show, table
from shoal_training.batch_inference.reading import InferenceFile, read_inference
from shoal_training.batch_inference.record import InferenceRun as LocalRun
from shoal_training.batch_inference.running import Given, run_inference
from shoal_training.errors import TrainingError
from shoal_training.progress import silent, terminal_bars

app = typer.Typer(help="Batch inference: a model answers the rows of a source.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the batch inference.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON, see the guide.", exists=True, dir_okay=False)]


@app.command("set", epilog="Example: shoal inference set nightly.yaml")
def set_inference(file: File, as_json: AsJson = False) -> None:
    """Set a batch inference at the hub, by its file; its schedule begins runs from now on."""
    read = _read(file)
    with connect() as client:
        found = client.batch_inference.set(read.definition.name, read.text)
    show(found, as_json=as_json, draw=lambda: _draw_list([found]))


@app.command("list", epilog="Example: shoal inference list")
def list_inferences(as_json: AsJson = False) -> None:
    """List batch inferences by name."""
    with connect() as client:
        found = client.batch_inference.list()
    show(found, as_json=as_json, draw=lambda: _draw_list(found))


@app.command("show", epilog="Example: shoal inference show nightly")
def show_inference(name: Name, as_json: AsJson = False) -> None:
    """Show a batch inference and its file."""
    with connect() as client:
        found = client.batch_inference.show(name)
    show(found, as_json=as_json, draw=lambda: _draw(found))


@app.command(epilog="Example: shoal inference run nightly --wait")
def run(
    name: Name,
    wait_: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Begin a run at the hub, now."""
    with connect() as client:
        found = _waited(client, client.batch_inference.begin(name), is_awaited=wait_)
    show(found, as_json=as_json, draw=lambda: _draw_runs([found]))


@app.command(epilog="Example: shoal inference runs nightly")
def runs(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs of a batch inference, the newest first: why each began, and what it came to."""
    with connect() as client:
        found = client.batch_inference.runs(name, limit=limit)
    show(found, as_json=as_json, draw=lambda: _draw_runs(found))


@app.command(epilog="Example: shoal inference schedule nightly --off")
def schedule(
    name: Name,
    on: Annotated[bool, typer.Option("--on/--off", help="Whether its schedule begins runs.")],
    as_json: AsJson = False,
) -> None:
    """Have the schedule of a batch inference begin runs, or no more."""
    with connect() as client:
        found = client.batch_inference.switch(name, on=on)
    show(found, as_json=as_json, draw=lambda: _draw_list([found]))


@app.command(epilog="Example: shoal inference cancel nightly i-abcdefgh")
def cancel(name: Name, run_id: Run, as_json: AsJson = False) -> None:
    """End a run; what it has written stays, and it can be gone on with."""
    with connect() as client:
        found = client.batch_inference.cancel(name, run_id)
    show(found, as_json=as_json, draw=lambda: _draw_runs([found]))


@app.command(epilog="Example: shoal inference resume nightly i-abcdefgh")
def resume(
    name: Name,
    run_id: Run,
    wait_: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that has failed or was cancelled: what is written is not answered again."""
    with connect() as client:
        found = _waited(client, client.batch_inference.resume(name, run_id), is_awaited=wait_)
    show(found, as_json=as_json, draw=lambda: _draw_runs([found]))


@app.command(epilog="Example: shoal inference remove nightly")
def remove(name: Name, as_json: AsJson = False) -> None:
    """Forget a batch inference; its runs stay, and what they have written."""
    with connect() as client:
        was = client.batch_inference.remove(name)
    show(was, as_json=as_json, draw=lambda: console.print(f"{was.name} is no more"))


@app.command(epilog="Example: shoal inference here nightly.yaml --store .shoal-inference")
def here(
    file: File,
    store: Annotated[Path, typer.Option(file_okay=False, help="Folder of runs.")] = Path(".shoal-inference"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin a new run, whatever has not finished.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a file on this machine, or go on with a run that was killed; a model NAME@VERSION comes from the hub."""
    read = _read(file)
    try:
        with nullcontext(silent) if as_json or not errors.is_terminal else terminal_bars() as progress:
            given = _given(read, store)
            done = run_inference(read, replace(given, progress=progress, is_fresh=fresh))
    except (TrainingError, CompressionError) as error:
        raise ClientError(str(error), "") from error
    show(done, as_json=as_json, draw=lambda: _draw_local(done))


def _given(read: InferenceFile, store: Path) -> Given:
    """Return the model's bundle: a folder, or the hub's, fetched."""
    reference = read.definition.model
    if reference.bundle:
        return Given(read.path.parent / reference.bundle, store)
    name, _, version = reference.version.partition("@")
    with connect() as client:
        number = client.models.version(name, version).number
        folder = client.models.download_bundle(name, number, store / "models")
    return Given(folder, store, number=number)


def _read(file: Path) -> InferenceFile:
    try:
        return read_inference(file)
    except TrainingError as error:
        raise ClientError(str(error), "") from error


def _waited(client: ShoalClient, run: InferenceRun, *, is_awaited: bool) -> InferenceRun:
    if not is_awaited:
        return run
    wait(client, run.job_id)
    return client.batch_inference.run(run.name, run.id)


def _draw_list(found: list[Inference]) -> None:
    rows = [(one.name, one.model, one.source, one.sink, _when(one), one.set_by, one.set_at) for one in found]
    columns = ("NAME", "MODEL", "SOURCE", "SINK", "SCHEDULE", "BY", "SET")
    table(columns, rows, empty="No batch inference yet: shoal inference set FILE")


def _when(one: Inference) -> str:
    if one.schedule is None:
        return "by hand"
    told = [str(one.schedule["cron"])] if one.schedule["cron"] else []
    told += [str(event["kind"]) for event in one.schedule["events"]]
    told += [f"after {name}" for name in one.schedule["after"]]
    return ", ".join(told) + ("" if one.is_enabled else " (off)")


def _draw(found: Inference) -> None:
    facts([("name", found.name), ("schedule", _when(found)), ("by", found.set_by), ("set", found.set_at)])
    console.print(Syntax(found.text, "yaml", background_color="default"))


def _draw_runs(found: Sequence[InferenceRun]) -> None:
    rows = [
        (one.id, f"{one.model}@{one.version}", one.state, _rows(one), one.reason, one.created_at, one.ended_at)
        for one in found
    ]
    table(("RUN", "MODEL", "STATE", "ROWS", "WHY", "BEGUN", "ENDED"), rows, empty="No run yet.")


def _rows(one: InferenceRun) -> str:
    if one.result is None:
        return one.error or one.progress
    return f"{one.result['written_rows']} in {one.result['parts']} parts, {one.result['refused_rows']} left out"


def _draw_local(done: LocalRun) -> None:
    told = f"{done.written_rows} in {done.written_parts} parts, {done.refused_rows} left out"
    facts([("run", done.id), ("model", done.model.name), ("rows", told), ("sink", done.sink["kind"])])
