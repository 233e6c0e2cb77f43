"""`shoal compress`: recipes and searches, measured on devices of each class, and what was chosen."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from shoal_client import ClientError, ShoalClient
from shoal_client.compression import CompressionDetail, CompressionRun
from shoal_hub.cli.compress_view import draw_latencies, draw_report, draw_run, draw_runs
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, errors, show, table

app = typer.Typer(help="Compression: recipes, measured on the devices that will run them.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[str, typer.Argument(help="Number, latest, stage or alias of a float version.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]
Target = Annotated[list[str] | None, typer.Option(help="A target class, as pi4; all of the fleet without.")]
Latency = Annotated[float | None, typer.Option(min=0, help="Of a chosen file at most, on the slowest board.")]
Drop = Annotated[float | None, typer.Option(min=0, help="Points of accuracy that may be lost on any board.")]
Size = Annotated[float | None, typer.Option(min=0, help="Of a chosen file at most.")]
Memory = Annotated[float | None, typer.Option(min=0, help="That a chosen file may take of a device.")]
Prefer = Annotated[
    Literal["size", "latency", "memory", "energy", "accuracy"], typer.Option(help="What decides among what is allowed.")
]
Devices = Annotated[int, typer.Option(min=0, max=16, help="Of each board that measure; 0: none, as if absent.")]
Patience = Annotated[
    float | None,
    typer.Option(min=0.2, help="Minutes that a device has before another is asked; else an hour, or what files take."),
]
Busy = Annotated[bool, typer.Option("--busy", help="Measure also while a device answers requests.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")]
_MEGABYTE = 1_000_000
_KILOBYTE = 1000


@app.command(epilog="Example: shoal compress run digits --recipe float16 --max-latency-ms 8 --max-drop 0.5")
def run(
    model: Model,
    version: Version = "latest",
    recipe: Annotated[list[str] | None, typer.Option(help="A built-in recipe, or a .yaml file. Repeatable.")] = None,
    target: Target = None,
    max_latency_ms: Latency = None,
    max_drop: Drop = None,
    max_size_kb: Size = None,
    max_memory_mb: Memory = None,
    prefer: Prefer = "latency",
    devices: Devices = 1,
    patience_min: Patience = None,
    busy: Busy = False,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Run recipes on a float version, measure the files on devices of each class, and register the best for each."""
    if not recipe:
        raise ClientError("running recipes: none was given", "name one: shoal compress recipes; or a .yaml file")
    settings = _settings(target, max_latency_ms, max_drop, max_size_kb, max_memory_mb, prefer)
    settings |= _measuring(devices, patience_min, busy=busy)
    with connect() as client:
        begun = client.compression.start(model, version, recipes=[_recipe(one) for one in recipe], **settings)
        _end(client, begun, detach=detach, as_json=as_json)


@app.command(epilog="Example: shoal compress search digits --budget-min 20 --max-drop 0.5")
def search(
    model: Model,
    version: Version = "latest",
    recipe: Annotated[list[str] | None, typer.Option(help="A recipe that is tried first. Repeatable.")] = None,
    budget_min: Annotated[float, typer.Option(min=0.1, help="Minutes that the search may take.")] = 20.0,
    target: Target = None,
    max_latency_ms: Latency = None,
    max_drop: Drop = None,
    max_size_kb: Size = None,
    max_memory_mb: Memory = None,
    prefer: Prefer = "latency",
    devices: Devices = 1,
    patience_min: Patience = None,
    busy: Busy = False,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Search over recipes, measure the best on devices of each class, and register what was chosen for each."""
    settings = _settings(target, max_latency_ms, max_drop, max_size_kb, max_memory_mb, prefer)
    settings |= _measuring(devices, patience_min, busy=busy) | {"budget_minutes": budget_min}
    with connect() as client:
        recipes = [_recipe(one) for one in recipe or ()]
        begun = client.compression.start(model, version, kind="search", recipes=recipes, **settings)
        _end(client, begun, detach=detach, as_json=as_json)


@app.command("list", epilog="Example: shoal compress list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100, as_json: AsJson = False
) -> None:
    """List runs, the newest first."""
    with connect() as client:
        found = client.compression.list(limit=limit)
    show(found, as_json=as_json, draw=lambda: draw_runs(found))


@app.command("show", epilog="Example: shoal compress show c-abcdefgh")
def show_run(run: RunId, as_json: AsJson = False) -> None:
    """Show a run: its files, what devices have measured, and what was chosen among what."""
    with connect() as client:
        found = client.compression.show(run)
    show(found, as_json=as_json, draw=lambda: draw_run(found))


@app.command(epilog="Example: shoal compress report c-abcdefgh float16 --picture front.svg")
def report(
    run: RunId,
    name: Annotated[str, typer.Argument(help="A file of the run, by its recipe; without, the run is shown.")] = "",
    page: Annotated[Path | None, typer.Option(help="Write the file's report here, as HTML.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write the picture of the fronts here, as SVG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the report of a file: where it comes from, and what it loses by slice and layer."""
    if page is not None and not name:
        raise ClientError("writing a page: no file of the run was named", f"list them: shoal compress show {run}")
    with connect() as client:
        if picture is not None:
            picture.write_bytes(client.compression.picture(run))
        if page is not None:
            page.write_bytes(client.compression.page(run, name))
        if not name:
            found = client.compression.show(run)
            show(found, as_json=as_json, draw=lambda: draw_run(found))
            return
        said = client.compression.report(run, name)
        choices = client.compression.show(run).choices
    if as_json:
        typer.echo(json.dumps(said))
    else:
        draw_report(name, said)
        draw_latencies(name, choices)


@app.command(epilog="Example: shoal compress recipes")
def recipes(as_json: AsJson = False) -> None:
    """List the recipes that come with Shoal."""
    with connect() as client:
        found = client.compression.recipes()
    rows = [(one.name, ", ".join(one.steps), one.description) for one in found]
    show(found, as_json=as_json, draw=lambda: table(("NAME", "STEPS", "WHAT IT DOES"), rows, empty="There is none."))


@app.command(epilog="Example: shoal compress cancel c-abcdefgh")
def cancel(run: RunId, as_json: AsJson = False) -> None:
    """Cancel a run: nothing of it is registered, and devices stop measuring."""
    with connect() as client:
        was = client.compression.cancel(run)
    show(was, as_json=as_json, draw=lambda: draw_runs([was]))


def _end(client: ShoalClient, begun: CompressionRun, *, detach: bool, as_json: bool) -> None:
    """Wait for a run behind a line of progress, and show it."""
    if detach:
        text = f"{begun.id} has started: shoal compress show {begun.id}"
        show(begun, as_json=as_json, draw=lambda: console.print(text))
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(begun.state)
        done: CompressionDetail = client.compression.wait(
            begun.id, lambda one: bar.update(task, description=f"{one.state}: {one.progress}")
        )
    show(done, as_json=as_json, draw=lambda: draw_run(done))


def _settings(
    target: list[str] | None,
    max_latency_ms: float | None,
    max_drop: float | None,
    max_size_kb: float | None,
    max_memory_mb: float | None,
    prefer: str,
) -> dict[str, Any]:
    return {
        "targets": target or [],
        "max_latency_ms": max_latency_ms,
        "max_drop": max_drop,
        "max_size_bytes": None if max_size_kb is None else round(max_size_kb * _KILOBYTE),
        "max_memory_bytes": None if max_memory_mb is None else round(max_memory_mb * _MEGABYTE),
        "prefer": prefer,
    }


def _measuring(devices: int, patience_min: float | None, *, busy: bool) -> dict[str, Any]:
    patience_s = None if patience_min is None else 60 * patience_min
    settings: dict[str, Any] = {"devices_per_class": devices, "patience_s": patience_s}
    return settings | ({"max_load": None} if busy else {})


def _recipe(name: str) -> str:
    """Return a recipe's name, or the text of its file; the hub reads it."""
    path = Path(name)
    if path.suffix not in {".yaml", ".yml", ".json"}:
        return name
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ClientError(f"reading the recipe {name}: {error}", "name a file of YAML that holds a recipe") from error
