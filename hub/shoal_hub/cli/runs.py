"""`shoal runs`: trainings that clients of MLflow's API have logged: list, show, compare."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from shoal_client import ClientError
from shoal_client.runs import Run, RunDetail
from shoal_hub.cli.connection import connect
from shoal_hub.cli.output import AsJson, console, facts, show, table

app = typer.Typer(help="Runs of trainings, logged through MLflow's API.", no_args_is_help=True)

_SHORTEST = 2
Where = Annotated[
    str, typer.Option("--filter", help="In MLflow's words: \"metrics.acc > 0.9 and params.depth = '3'\".")
]


@app.command("list", epilog="Example: shoal runs list --experiment colours --order-by 'metrics.acc DESC'")
def list_runs(
    experiment: Annotated[str, typer.Option(help="Name of an experiment; all of them without.")] = "",
    where: Where = "",
    order_by: Annotated[str, typer.Option(help="Like 'metrics.acc DESC'; those that began last first without.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs."""
    with connect() as client:
        found = client.runs.list(experiment=experiment, where=where, order_by=order_by, limit=limit)
    show(found, as_json=as_json, draw=lambda: _draw_list(found))


@app.command("show", epilog="Example: shoal runs show 0123456789abcdef0123456789abcdef")
def show_run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")], as_json: AsJson = False
) -> None:
    """Show a run with its parameters, tags and, of each metric, the last value."""
    with connect() as client:
        found = client.runs.show(run)
    show(found, as_json=as_json, draw=lambda: _draw_run(found))


@app.command(epilog="Example: shoal runs compare RUN RUN")
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids of two runs or more.")],
    as_json: AsJson = False,
) -> None:
    """Compare runs: parameters that differ, and all metrics."""
    if len(runs) < _SHORTEST:
        raise ClientError("comparing runs: one was named", "name two or more: shoal runs list")
    with connect() as client:
        found = [client.runs.show(run) for run in runs]
    show(found, as_json=as_json, draw=lambda: _draw_comparison(found))


def _draw_list(runs: Sequence[Run]) -> None:
    columns = ("ID", "NAME", "EXPERIMENT", "STATUS", "STARTED", "METRICS", "PARAMETERS")
    rows = [
        (run.id, run.name, run.experiment_name, run.status.lower(), _at(run.started_ms), run.metrics, run.params)
        for run in runs
    ]
    table(columns, rows, empty="There is none. Set MLFLOW_TRACKING_URI to this hub, and train.")


def _draw_run(run: RunDetail) -> None:
    ended = None if run.ended_ms is None else _at(run.ended_ms)
    facts(
        [
            ("run", run.id),
            ("name", run.name),
            ("experiment", run.experiment_name),
            ("status", run.status.lower()),
            ("user", run.user_name),
            ("started", _at(run.started_ms)),
            ("ended", ended),
            ("data", run.datasets),
            ("files", run.artifact_uri),
        ]
    )
    for title, values in (("METRIC", run.metrics), ("PARAMETER", run.params), ("TAG", run.tags)):
        named: Mapping[str, object] = values
        if named:
            console.print()
            table((title, "VALUE"), list(named.items()), empty="")


def _draw_comparison(runs: Sequence[RunDetail]) -> None:
    """Draw what differs of parameters, and every metric: a row each, a column a run."""
    params = _rows([run.params for run in runs])
    differing = [row for row in params if len(set(row[1:])) > 1]
    rows = [("name", *(run.name for run in runs)), *_rows([run.metrics for run in runs]), *differing]
    table(("", *(run.id[:8] for run in runs)), rows, empty="")
    if alike := len(params) - len(differing):
        console.print(f"[dim]{alike} parameters are the same in all.[/dim]")


def _rows(values: Sequence[Mapping[str, object]]) -> list[tuple[object, ...]]:
    names = sorted({name for one in values for name in one})
    return [(name, *(one.get(name) for one in values)) for name in names]


def _at(milliseconds: int) -> datetime | None:
    """Return a time; None for one beyond the calendar, as of a client that told nanoseconds."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
